//! `proxy`: the local proxy, in the foreground, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use hsm_mtls::error::ExitCode;
use hsm_mtls::identity::Identity;
use hsm_mtls::meter;
use hsm_mtls::proxy::{self, ProxyError, Sockets, traffic};
use hsm_mtls::token::guard::Attendance;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{CommandError, Global, start};

/// Buckets of what the token takes for a signature, in seconds.
const SIGNATURE_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Values of histograms wait in memory until they are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(1);

pub(super) fn proxy(global: &Global) -> Result<ExitCode, CommandError> {
    let config = start::config_for_module(global)?;
    let settings = config
        .proxy
        .as_ref()
        .ok_or(ProxyError::NotConfigured)
        .map_err(CommandError::stage)?;
    // Before any thread runs: what systemd handed over is taken out of the environment.
    let sockets = Sockets::open(settings).map_err(CommandError::stage)?;
    let metrics = recorder()?;
    let render = move || metrics.render();
    let opened = config.clone();
    let opener = move || Identity::open(&opened, Attendance::Unattended);
    proxy::run(config, sockets, Arc::new(opener), Arc::new(render)).map_err(CommandError::Stage)?;
    Ok(ExitCode::Good)
}

fn recorder() -> Result<PrometheusHandle, CommandError> {
    let wrong = |error: metrics_exporter_prometheus::BuildError| {
        CommandError::usage(
            format!("metrics cannot be kept: {error}"),
            "this is a fault of ours: please report it",
        )
    };
    let proxy = Matcher::Prefix("hsm_mtls_proxy_".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SIGNATURE_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(proxy, &traffic::BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(wrong)?;
    meter::describe();
    traffic::describe();
    let kept = recorder.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::park_timeout(UPKEEP);
                kept.run_upkeep();
            }
        })?;
    Ok(recorder)
}
