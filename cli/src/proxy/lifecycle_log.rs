//! What the proxy says of itself unasked, a line each: that it is ready, with what, and that it was reloaded.
//! The command shows these two without `-v`: whoever starts a service waits for them.

use std::time::SystemTime;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Service;

/// The target of these log events, which the command shows without `-v`.
pub const LIFECYCLE: &str = "hsm_mtls::proxy::lifecycle";

/// It listens, and token, key, certificate and anchors were proved.
pub(super) fn ready(config: &Config, certificate: &Certificate, key: &str) {
    let proxy = config.proxy.iter();
    let listeners = proxy.flat_map(|proxy| &proxy.listeners);
    let listeners: Vec<_> = listeners
        .map(|listener| listener.address.to_string())
        .collect();
    let operations = config.proxy.iter().flat_map(|proxy| &proxy.operations);
    let operations: Vec<_> = operations.map(|found| found.address.to_string()).collect();
    let services = Service::ALL
        .map(|service| format!("{} at {}", service.name(), config.hub.origin(service)))
        .join(", ");
    tracing::info!(
        target: LIFECYCLE,
        environment = config.environment.as_str(),
        listeners = listeners.join(", "),
        operations = operations.join(", "),
        services,
        certificate = %certificate.subject(),
        not_after = certificate.not_after(),
        days_left = certificate.days_left(SystemTime::now()),
        key,
        "ready"
    );
}

/// Another identity is in use.
pub(super) fn reloaded(certificate: &Certificate, key: &str) {
    tracing::info!(
        target: LIFECYCLE,
        subject = %certificate.subject(),
        not_after = certificate.not_after(),
        days_left = certificate.days_left(SystemTime::now()),
        key,
        "reloaded"
    );
}
