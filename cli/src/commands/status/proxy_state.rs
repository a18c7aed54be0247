//! The local proxy, as it says itself over `[proxy.operations]`: whether it runs and is ready, its last handshakes, and whether it has
//! the certificates of the files. Only the proxy knows what it uses.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

use hsm_mtls::internal::config::listener::ListenAddress;
use hsm_mtls::internal::config::{Config, KeyRole};
use serde_json::{Value, json};

use super::super::running_proxy::{RunningProxy, connect_unix};
use super::pair::Pair;
use super::report::Found;
use super::state::State;

const ABOUT: &str = "proxy";
const RELOADED: &str = "proxy.reload";
const START: &str = "systemctl start hsm-mtls-proxy";
const RELOAD: &str = "systemctl reload hsm-mtls-proxy";
/// How long a listener of this machine may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What was heard of the proxy.
pub(super) enum ProxyAnswer {
    /// There is no `[proxy]`.
    NotConfigured,
    /// It does not run, or this user may not ask.
    Silent(io::Error),
    /// Somebody listens for applications, and there is nobody to ask about health.
    Listens,
    /// The sockets are systemd's, and listen whether it runs or not.
    NotAsked,
    /// `/readyz`
    Report(Box<Value>),
}

impl ProxyAnswer {
    pub(super) fn of(config: &Config) -> Self {
        let Some(proxy) = &config.proxy else {
            return Self::NotConfigured;
        };
        if let Some(running) = RunningProxy::of(config) {
            return match running.readiness() {
                Ok(report) => Self::Report(Box::new(report)),
                Err(error) => Self::Silent(error),
            };
        }
        let mut listeners = proxy.listeners.iter();
        let accepted = listeners.find_map(|listener| match &listener.address {
            ListenAddress::Systemd(_) => None,
            ListenAddress::Unix { path, .. } => Some(connect_unix(path, CONNECT_TIMEOUT).map(drop)),
            ListenAddress::Tcp(address) => {
                Some(TcpStream::connect_timeout(address, CONNECT_TIMEOUT).map(drop))
            }
        });
        match accepted {
            None => Self::NotAsked,
            Some(Ok(())) => Self::Listens,
            Some(Err(error)) => Self::Silent(error),
        }
    }

    pub(super) fn report(&self) -> Option<&Value> {
        match self {
            Self::Report(report) => Some(report),
            _ => None,
        }
    }

    /// Whether its signer has the token, by its own word.
    pub(super) fn has_token(&self) -> bool {
        self.report()
            .is_some_and(|report| report["token"]["good"] == true)
    }
}

pub(super) fn add(found: &mut Found, answer: &ProxyAnswer, pairs: &[Pair]) {
    let detail = match answer {
        ProxyAnswer::NotConfigured => return,
        ProxyAnswer::Silent(error) => {
            silent(found, error);
            json!({ "running": is_away(error).then_some(false), "readiness": null })
        }
        ProxyAnswer::Listens => {
            let text = "it listens; there is no [proxy.operations] to ask whether it is ready";
            found.item(ABOUT, State::Ok, text);
            json!({ "running": true, "readiness": null })
        }
        ProxyAnswer::NotAsked => {
            let text = "not asked: its sockets are systemd's, and there is no [proxy.operations] with an address of its own";
            found.item(ABOUT, State::Unknown, text);
            json!({ "running": null, "readiness": null })
        }
        ProxyAnswer::Report(report) => {
            readiness(found, report);
            reload(found, &report["last_reload"]);
            for pair in pairs {
                compare(found, report, pair);
            }
            json!({ "running": true, "readiness": report })
        }
    };
    found.details.insert(ABOUT.to_owned(), detail);
}

fn silent(found: &mut Found, error: &io::Error) {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let text = format!("not asked: this user may not connect to it ({error})");
            found.item(ABOUT, State::Unknown, text);
        }
        _ if is_away(error) => {
            let text = format!("it does not run: nobody listens ({error})");
            found.item(ABOUT, State::Critical, text);
            found.act_now("start the proxy", Some(START));
        }
        _ => {
            let text = format!("it gives no answer: {error}");
            found.item(ABOUT, State::Critical, text);
            let look = "journalctl -u hsm-mtls-proxy";
            found.act_now("look why the proxy gives no answer", Some(look));
        }
    }
}

fn is_away(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

fn readiness(found: &mut Found, report: &Value) {
    let upstreams = report["upstreams"].as_array().into_iter().flatten();
    let handshakes: Vec<_> = upstreams.clone().filter_map(handshake_text).collect();
    if report["ready"] == true {
        let since = report["started"].as_str().unwrap_or_default();
        let handshakes = match handshakes.is_empty() {
            true => "no handshake yet".to_owned(),
            false => handshakes.join("; "),
        };
        found.item(
            ABOUT,
            State::Ok,
            format!("ready, started {since}; {handshakes}"),
        );
        return;
    }
    if report["stopping"] == true {
        found.item(ABOUT, State::Warning, "it is stopping");
        return;
    }
    // What is not good, and what is said of it.
    let parts = [
        ("token", &report["token"]),
        ("certificate", &report["certificate"]),
        ("JWT Auth", &report["jwt"]),
    ];
    let parts = parts.into_iter().map(|(name, part)| (name, part, part));
    let services = upstreams.map(|upstream| {
        let name = upstream["name"].as_str().unwrap_or_default();
        (name, upstream, &upstream["last_handshake"])
    });
    let mut reasons = Vec::new();
    for (name, part, said) in parts.chain(services) {
        if part["good"] != false {
            continue;
        }
        let why = said["detail"].as_str().unwrap_or("not good");
        reasons.push(format!("{name}: {why}"));
        if let Some(hint) = said["hint"].as_str() {
            found.act_now(format!("{name}: {hint}"), None);
        }
    }
    found.item(
        ABOUT,
        State::Critical,
        format!("it runs and is NOT ready: {}", reasons.join("; ")),
    );
}

/// A reload that was refused: what the files say now is not in use, and may not be usable at the next start either.
fn reload(found: &mut Found, last: &Value) {
    if last["good"] != false {
        return;
    }
    let text = |name: &str| last[name].as_str().unwrap_or_default();
    let (at, why) = (text("at"), text("detail"));
    let said =
        format!("the last reload was refused at {at}, and what was in use before goes on: {why}");
    found.item(RELOADED, State::Warning, said);
    let hint = match text("hint") {
        "" => "mend what the reload was refused for".to_owned(),
        hint => format!("the refused reload: {hint}"),
    };
    found.act_now(hint, Some(RELOAD));
}

/// `Payments 2026-11-30T14:55:02Z good`
fn handshake_text(upstream: &Value) -> Option<String> {
    let last = upstream["last_handshake"].as_object()?;
    let good = match last["good"].as_bool()? {
        true => "good",
        false => "FAILED",
    };
    let (name, at) = (upstream["name"].as_str()?, last["at"].as_str()?);
    Some(format!("{name} {at} {good}"))
}

/// A proxy goes on with the pair that it has: a new file is in use after a reload, and not after one that was refused.
fn compare(found: &mut Found, report: &Value, pair: &Pair) {
    let used = match pair.role {
        KeyRole::C3 => &report["certificate"]["x5t_s256"],
        KeyRole::Sig4 => &report["jwt"]["kid"],
    };
    let (Some(used), Some(certificate)) = (used.as_str(), &pair.certificate) else {
        return;
    };
    if used != certificate.x5t_s256() {
        let name = pair.role.name();
        let text = format!("it has another {name} certificate than the file: {used}");
        found.item("proxy.certificate", State::Warning, text);
        found.act_now(
            format!("have the proxy take the {name} certificate, and look into its log: it may have refused it"),
            Some(RELOAD),
        );
    }
}
