//! Which hosts are reached without a forward proxy: exact names, all names below a domain, addresses and networks, each with a
//! port if it is to be for that port only.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// `no_proxy` of `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    /// `None`: at all ports.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// This name and no other.
    Name(String),
    /// The names below this domain, which has a dot at its front, and the domain.
    Below(String),
    Network(IpAddr, u8),
}

/// The forms, for messages.
const FORMS: &str = "write a host name, \".domain\" for what is below it, an IP address, a network such as \"10.0.0.0/8\", each with :port if need be, or \"*\"";

impl NoProxy {
    /// Whether the host is reached without a forward proxy. `host` is in lower case.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|rule| {
            rule.port.is_none_or(|only| only == port)
                && match &rule.hosts {
                    Hosts::All => true,
                    Hosts::Name(name) => name == host,
                    Hosts::Below(domain) => {
                        host.ends_with(domain.as_str()) || domain.strip_prefix('.') == Some(host)
                    }
                    Hosts::Network(network, bits) => {
                        address.is_some_and(|address| is_within(address, *network, *bits))
                    }
                }
        })
    }

    /// Whether no host is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the list of the variable NO_PROXY, in which a name stands for what is below it too, as all programs read it. What
    /// is no name there is passed over.
    pub(super) fn add_variable(&mut self, list: Option<String>) {
        let list = list.unwrap_or_default();
        let entries = list.split([',', ' ']).map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            let Ok(rule) = rule(entry) else {
                continue;
            };
            let rule = match rule.hosts {
                Hosts::Name(name) => Rule {
                    hosts: Hosts::Below(format!(".{name}")),
                    ..rule
                },
                _ => rule,
            };
            if !self.0.contains(&rule) {
                self.0.push(rule);
            }
        }
    }
}

impl std::fmt::Display for NoProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = self.0.iter().map(|rule| {
            let hosts = match &rule.hosts {
                Hosts::All => "*".to_owned(),
                Hosts::Name(name) | Hosts::Below(name) => name.clone(),
                Hosts::Network(network, bits) => format!("{network}/{bits}"),
            };
            match rule.port {
                Some(port) => format!("{hosts}:{port}"),
                None => hosts,
            }
        });
        f.write_str(&texts.collect::<Vec<_>>().join(", "))
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shared = |own: u128, other: u128, length: u32| {
        let rest = length - u32::from(bits).min(length);
        own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            shared(own.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => shared(own.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

fn rule(entry: &str) -> Result<Rule, &'static str> {
    if let Ok(address) = entry.trim_matches(['[', ']']).parse() {
        return Ok(Rule {
            hosts: network(address, None)?,
            port: None,
        });
    }
    // A network of IPv6 has colons of its own.
    if let Some((address, bits)) = entry.replace(['[', ']'], "").split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
    {
        return Ok(Rule {
            hosts: network(address, Some(bits))?,
            port: None,
        });
    }
    let (hosts, port) = match entry.rsplit_once(':') {
        Some((hosts, port)) => (hosts, Some(port.parse().map_err(|_| FORMS)?)),
        None => (entry, None),
    };
    let hosts = hosts.trim_matches(['[', ']']);
    let hosts = match hosts.split_once('/') {
        _ if hosts == "*" => Hosts::All,
        Some((address, bits)) => {
            let bits = bits.parse().map_err(|_| FORMS)?;
            network(address.parse().map_err(|_| FORMS)?, Some(bits))?
        }
        None => match hosts.parse() {
            Ok(address) => network(address, None)?,
            Err(_) => name(hosts)?,
        },
    };
    Ok(Rule { hosts, port })
}

fn network(address: IpAddr, bits: Option<u8>) -> Result<Hosts, &'static str> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.unwrap_or(most) {
        bits if bits <= most => Ok(Hosts::Network(address, bits)),
        _ => Err(FORMS),
    }
}

fn name(text: &str) -> Result<Hosts, &'static str> {
    let text = text.strip_prefix('*').unwrap_or(text).to_ascii_lowercase();
    let bare = text.strip_prefix('.').unwrap_or(&text);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !bare.is_empty() && !bare.starts_with('.') && bare.chars().all(fits) {
        true if bare.len() < text.len() => Ok(Hosts::Below(text)),
        true => Ok(Hosts::Name(text)),
        false => Err(FORMS),
    }
}

impl<'de> Deserialize<'de> for NoProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        let rules = entries.iter().map(|entry| rule(entry.trim()));
        let rules = rules.collect::<Result<_, _>>();
        rules.map(Self).map_err(serde::de::Error::custom)
    }
}
