//! The check of `Host`: only the names of this machine, of the hub and of the configuration are served. A web page in
//! a browser on this machine (DNS rebinding) sends another name, and is refused.

use std::collections::HashSet;
use std::net::IpAddr;
use std::str;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{StatusCode, Version};

use super::problem_details::Problem;
use hsm_mtls::internal::config::origin::Origin;

/// The host names that a request may be for.
#[derive(Debug)]
pub(super) struct KnownHosts {
    hosts: HashSet<Box<str>>,
}

impl KnownHosts {
    /// The names of this machine, of the hub (`origins`) and of the configuration.
    pub(super) fn new(origins: &[&Origin], configured: &[String]) -> Self {
        let mut hosts: HashSet<Box<str>> = ["localhost", "127.0.0.1", "[::1]"]
            .map(Box::from)
            .into_iter()
            .collect();
        for origin in origins {
            hosts.insert(origin.host.as_str().into());
        }
        hosts.extend(configured.iter().map(|name| name.to_lowercase().into()));
        Self { hosts }
    }

    /// Adds an address that this machine has.
    pub(super) fn add_address(&mut self, address: IpAddr) {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        self.hosts.insert(host.into());
    }

    fn contains(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        self.hosts.contains(host) || self.hosts.contains(host.to_ascii_lowercase().as_str())
    }

    /// Checks `Host` and the authority of a target in absolute form. `over_unix_socket`: the empty `Host` is allowed,
    /// because such a socket has no name (RFC 9112, section 3.2).
    ///
    /// # Errors
    /// `Host` is missing, duplicated or malformed, or one of the names is not known.
    pub(super) fn check(&self, head: &Parts, over_unix_socket: bool) -> Result<(), Problem> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(host.as_bytes()),
            (None, _) if head.version == Version::HTTP_10 => None,
            (None, _) => return Err(Problem::malformed("there is no Host")),
            (Some(_), Some(_)) => return Err(Problem::malformed("there are two Hosts")),
        };
        let host = match host {
            Some(b"") if over_unix_socket => None,
            Some(b"") => return Err(misdirected()),
            Some(host) => Some(authority(host)?),
            None => None,
        };
        // The absolute form names the host as well. Both names must be known.
        let absolute = head.uri.authority().map(|authority| authority.as_str());
        if head.uri.scheme_str().is_some_and(|scheme| scheme != "http") {
            return Err(misdirected());
        }
        match [host, absolute]
            .into_iter()
            .flatten()
            .all(|name| self.contains(name))
        {
            true => Ok(()),
            false => Err(misdirected()),
        }
    }
}

fn misdirected() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host",
        "the request is for a host that is neither this machine nor the hub",
        "call 127.0.0.1, localhost or the hub's own name, or add the name to `host_names` of the listener",
    )
    .closing()
}

/// Parses a `Host`. A malformed one is status 400, not 421 (RFC 9112, section 3.2).
fn authority(host: &[u8]) -> Result<&str, Problem> {
    let text = str::from_utf8(host).ok();
    let well_formed = |text: &&str| {
        let Ok(parsed) = text.parse::<Authority>() else {
            return false;
        };
        // The text starts with the host: there is no user information before it.
        let port = text.strip_prefix(parsed.host());
        let port = port.map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        !parsed.host().is_empty()
            && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.filter(well_formed)
        .ok_or_else(|| Problem::malformed("Host is no host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_of_the_hub_and_of_the_configuration_are_known() {
        let origin = Origin {
            host: "hub.mybank.example".to_owned(),
            port: 443,
        };
        let hosts = KnownHosts::new(&[&origin], &["Hub.Internal".to_owned()]);
        for known in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "hub.mybank.example",
            "HUB.mybank.example:443",
            "hub.internal",
        ] {
            assert!(hosts.contains(known), "{known}");
        }
        for unknown in [
            "",
            ":80",
            "localhost.",
            "localhost:80:90",
            "localhost@evil.example",
            "evil.example:localhost",
            "mybank.example",
            "::1",
            "127.0.0.2",
        ] {
            assert!(!hosts.contains(unknown), "{unknown}");
        }
    }
}
