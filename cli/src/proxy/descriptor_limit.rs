//! The limit of open files, and how many clients fit it: descriptors that callers use up would be missing for
//! connections to the hub and for every other caller.

use rustix::process::{Resource, getrlimit, setrlimit};

use super::connection_slots::ConnectionSlots;
use super::context::MAX_REFUSALS;
use super::health_endpoints;
use super::lingering_close::MAX_CLOSING;
use hsm_mtls::internal::config::proxy::ProxyConfig;

/// Descriptors for everything else: files, logs, channels (two for each), name resolution, further addresses of the hub.
const OTHERS: u64 = 192;

/// Raises the limit of open files to the hard limit. The soft limit is 1024 descriptors by default.
pub(super) fn raise_open_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // On failure the proxy accepts fewer connections at once.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// `max_clients` of each listener, or fewer if the open files of this process do not suffice for all of them.
pub(super) fn max_clients(config: &ProxyConfig) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let clients = limit.map_or(config.max_clients, |limit| fitting(config, limit));
    if clients < config.max_clients {
        tracing::warn!(
            max_clients = config.max_clients,
            open_files = limit,
            "only {clients} connections for each listener fit the limit of open files: raise it (LimitNOFILE=), or set `max_clients`"
        );
    }
    clients
}

fn fitting(config: &ProxyConfig, open_files: u64) -> usize {
    let listeners = config.listeners.len().max(1) as u64;
    let hub = 2 * config.max_connections as u64;
    let refusals = MAX_REFUSALS as u64 * listeners;
    let operations = health_endpoints::MAX_CONNECTIONS as u64;
    let reserve = OTHERS + hub + u64::from(MAX_CLOSING) + refusals + operations;
    let each = open_files.saturating_sub(reserve) / listeners;
    let each = usize::try_from(each).unwrap_or(usize::MAX);
    // Those without the token come beside the others.
    let mut clients = config.max_clients;
    while clients > 1 && clients + ConnectionSlots::unknown_limit(clients) > each {
        clients = (clients * 9 / 10).max(1);
    }
    clients
}
