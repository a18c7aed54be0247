//! The two log events of the proxy's lifecycle: ready (with listeners, services and certificate) and reloaded. The
//! command shows them without `-v`: operators who start or reload a service wait for them.

use std::time::SystemTime;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::log_target::LIFECYCLE;

/// Logs that the proxy listens, and that token, key, certificate and anchors were checked.
pub(super) fn ready(config: &Config, certificate: &Certificate, key: &str) {
    let proxy = config.proxy.iter();
    let listeners = proxy.flat_map(|proxy| &proxy.listeners);
    let listeners: Vec<_> = listeners
        .map(|listener| listener.address.to_string())
        .collect();
    let operations = config.proxy.iter().flat_map(|proxy| &proxy.operations);
    let operations: Vec<_> = operations
        .map(|config| config.address.to_string())
        .collect();
    let services = config.hub.services.iter();
    let services: Vec<_> = services
        .map(|service| format!("{} at {}", service.service.name(), service.origin))
        .collect();
    tracing::info!(
        target: LIFECYCLE,
        environment = config.environment.as_str(),
        listeners = listeners.join(", "),
        operations = operations.join(", "),
        services = services.join(", "),
        certificate = %certificate.subject(),
        not_after = certificate.not_after(),
        days_left = certificate.days_left(SystemTime::now()),
        key,
        "ready"
    );
}

/// Logs that a new identity is in use.
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
