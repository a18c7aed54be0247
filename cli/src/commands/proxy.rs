//! `proxy`: the local proxy, in the foreground, until a signal ends it: its processes but for the signer.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::proxy::{self, ProxyError, ServiceManager, Sockets};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::config::service_users::ServiceProcess;
use hsm_mtls::internal::config::{Config, ConfigText};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::metrics;
use hsm_mtls::internal::signer::front_end_supervisor::{SignerPlan, inherit, supervise};
use hsm_mtls::internal::signer::process_launcher::{self, LaunchedProcess, ProcessLauncher};
use hsm_mtls::internal::signer::sandbox::Sandbox;
use hsm_mtls::internal::signer::service_user::become_user;
use hsm_mtls::internal::signer::system_call_filter::SystemCallFilter;
use hsm_mtls::internal::signer::{config_reader, hardening};
use hsm_mtls::internal::standard_error;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{CommandError, Global, output, setup, signer};

/// Histogram buckets of the duration of a signature in the token, in seconds.
const SIGNATURE_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// The interval at which values of histograms are put into buckets: they are in memory until then, some 20,000 a second
/// under load.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(200);

/// The supervisor: opens the listening sockets, and has the signer and the front end started.
pub(super) fn proxy(global: &Global) -> Result<ExitCode, CommandError> {
    with_restart_code(global, run_supervisor(global))
}

/// The front end: the process that parses input from the network. The supervisor starts it.
pub(super) fn front_end(global: &Global) -> Result<ExitCode, CommandError> {
    with_restart_code(global, run_front_end(global))
}

/// Replaces the exit code of a transient error by that of an absent token: systemd does not restart a service that ends
/// with the code of a configuration or PIN error (RestartPreventExitStatus).
fn with_restart_code(
    global: &Global,
    result: Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    match result {
        Err(CommandError::Stage(error)) if error.is_transient() => {
            let code = output::failure(&CommandError::Stage(error), global.json);
            Ok(match code {
                ExitCode::Configuration | ExitCode::Pin => ExitCode::Token,
                other => other,
            })
        }
        other => other,
    }
}

fn run_supervisor(global: &Global) -> Result<ExitCode, CommandError> {
    if global.token.is_some() {
        return Err(CommandError::usage(
            "--token is not for `proxy`, which uses all tokens",
            "leave it out; `priority` of [[token]] says which is used first",
        ));
    }
    let path = setup::config_path(global)?;
    let launcher = ProcessLauncher::start(process(global, path, "process-launcher"));
    let launcher = launcher.map_err(CommandError::stage)?;
    let plan = SignerPlan::read(&launcher, path, None).map_err(CommandError::stage)?;
    // The variables of socket activation are removed from the environment: of the threads that run, the one that waits for
    // the launcher does not read it.
    let sockets = Sockets::open(settings(plan.config())?).map_err(CommandError::stage)?;
    let descriptors = sockets.descriptors();
    supervise(path, plan, &descriptors).map_err(CommandError::stage)
}

/// The process launcher: it starts the other processes for the supervisor, which starts it.
pub(super) fn launch_processes(global: &Global) -> Result<ExitCode, CommandError> {
    let path = setup::config_path(global)?;
    let command_of = |role| match role {
        LaunchedProcess::ConfigReader => process(global, path, "config-reader"),
        LaunchedProcess::Signer { token } => {
            let mut command = process(global, path, "signer");
            command.args(signer::token_number(token));
            command
        }
        LaunchedProcess::FrontEnd => {
            let mut command = process(global, path, "front-end");
            // glibc's allocator would otherwise keep an arena for each of many short-lived threads.
            command.env("MALLOC_ARENA_MAX", "2");
            command
        }
    };
    process_launcher::serve(command_of).map_err(CommandError::stage)
}

/// Another process of this program.
fn process(global: &Global, path: &Path, command: &str) -> Command {
    let mut process = Command::new(signer::PROGRAM);
    process
        .arg0("hsm-mtls")
        .args(signer::arguments(global, path, command));
    process
}

/// The reader of the configuration. The process launcher starts it.
pub(super) fn read_configuration(global: &Global) -> Result<ExitCode, CommandError> {
    config_reader::serve(setup::config_path(global)?).map_err(CommandError::stage)
}

fn run_front_end(global: &Global) -> Result<ExitCode, CommandError> {
    let inherited = inherit().map_err(CommandError::stage)?;
    let text = ConfigText::inherited_or_read(inherited.configuration, setup::config_path(global)?);
    // The supervisor has checked the paths in it.
    let config = text.and_then(|text| text.parse()).map(Config::for_proxy);
    let mut config = config.map_err(CommandError::stage)?;
    let started_by = rustix::process::geteuid().as_raw();
    let user = become_user(&config, ServiceProcess::FrontEnd).map_err(CommandError::stage)?;
    if let Some(user) = user {
        // The kernel has reset both with the user.
        let _ = (hardening::not_dumpable(), hardening::end_with_parent());
        tracing::info!(detail = user.detail, "the front end has a user of its own");
        if let Some(proxy) = &mut config.proxy {
            proxy.set_starting_user(started_by);
        }
    }
    let sockets = Sockets::inherited(settings(&config)?, inherited.sockets);
    let sockets = sockets.map_err(CommandError::stage)?;
    // Before any thread runs: Landlock does not cover threads that run already.
    let sandbox = Sandbox::of_front_end(&config).and_then(|sandbox| sandbox.enter());
    let measure = sandbox.map_err(CommandError::stage)?;
    tracing::info!(detail = measure.detail, "the front end is under Landlock");
    // The filter allows no new Unix sockets.
    let service_manager = ServiceManager::from_environment();
    let mut filter = SystemCallFilter::front_end();
    if config.network.source_address.is_some() {
        filter = filter.with_bind();
    }
    let measure = filter.enter().map_err(CommandError::stage)?;
    standard_error::release();
    tracing::info!(
        detail = measure.detail,
        "the front end is under a system call filter"
    );
    let metrics = install_metrics_recorder()?;
    let render = move || metrics.render();
    let render = Arc::new(render);
    let (channels, control) = (inherited.channels, inherited.control);
    let ended = proxy::run(config, sockets, channels, control, render, service_manager);
    ended.map_err(CommandError::stage)?;
    Ok(ExitCode::Good)
}

fn settings(config: &Config) -> Result<&ProxyConfig, CommandError> {
    let settings = config.proxy.as_ref();
    settings
        .ok_or(ProxyError::NotConfigured)
        .map_err(CommandError::stage)
}

/// Installs the recorder of metrics, and starts the thread that fills the buckets.
fn install_metrics_recorder() -> Result<PrometheusHandle, CommandError> {
    let failed = |error: metrics_exporter_prometheus::BuildError| {
        CommandError::usage(
            format!("metrics cannot be kept: {error}"),
            "this is a fault of ours: please report it",
        )
    };
    let proxy = Matcher::Prefix("hsm_mtls_proxy_".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SIGNATURE_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(proxy, &proxy::proxy_metrics::BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)?;
    metrics::describe();
    proxy::proxy_metrics::describe();
    let handle = recorder.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::park_timeout(UPKEEP_INTERVAL);
                handle.run_upkeep();
            }
        })?;
    Ok(recorder)
}
