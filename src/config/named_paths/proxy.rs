//! The paths of `[proxy]`: the access log, caller tokens and sockets.

use super::PathList;
use crate::config::listener::{Callers, ListenAddress, ListenerConfig, OperationsConfig};
use crate::config::paths::{Extent, PathRole};
use crate::config::proxy::{AccessLog, ProxyConfig};
use crate::owner_and_mode::Protection;

impl PathList {
    pub(super) fn add_proxy(&mut self, proxy: &ProxyConfig) {
        let ProxyConfig {
            listeners,
            operations,
            access_log,
            warm_connections: _,
            max_connections: _,
            max_age: _,
            idle_timeout: _,
            h2: _,
            via: _,
            max_requests: _,
            max_clients: _,
            max_header_kib: _,
            max_body_mib: _,
            head_timeout: _,
            body_timeout: _,
            keep_alive: _,
            stop_timeout: _,
            user: _,
            accept_same_user: _,
            reload: _,
            jwt: _,
        } = proxy;
        match access_log {
            AccessLog::File(path) => {
                let extent = Extent::WithOlder(".");
                self.add(path, PathRole::AccessLog, extent, Protection::Unchanged);
            }
            AccessLog::Stdout | AccessLog::Off => {}
        }
        for listener in listeners {
            let ListenerConfig {
                address,
                callers,
                upstream: _,
                host_names: _,
            } = listener;
            self.add_address(address);
            match callers {
                Callers::Token(path) => {
                    let role = PathRole::CallerToken;
                    self.add(path, role, Extent::File, Protection::Secret);
                }
                Callers::SameUser
                | Callers::Peers { uids: _, gids: _ }
                | Callers::SocketMode
                | Callers::AnyLocalProcess => {}
            }
        }
        if let Some(OperationsConfig {
            address,
            host_names: _,
        }) = operations
        {
            self.add_address(address);
        }
    }

    fn add_address(&mut self, address: &ListenAddress) {
        match address {
            ListenAddress::Unix {
                path,
                mode: _,
                owner: _,
                group: _,
            } => self.add(path, PathRole::Socket, Extent::File, Protection::Socket),
            ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => {}
        }
    }
}
