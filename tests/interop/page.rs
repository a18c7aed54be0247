//! The run as docs/interop.md shows it: versions, and a table for each token.

use std::fmt::Write as _;

use crate::key_trial::{Failure, KeyTrial, TokenTrial};
use crate::known_limit::KNOWN_LIMITS;
use crate::peer::{PEERS, TlsVersion, VERSIONS};
use crate::version;

pub fn markdown(trials: &[TokenTrial]) -> String {
    let failures: usize = trials.iter().map(|trial| trial.failures().count()).sum();
    let all = trials.iter().flat_map(|trial| &trial.keys);
    let good = all
        .flat_map(|key| &key.handshakes)
        .filter(|handshake| handshake.failure.is_none());
    let mut text = format!(
        "{} connections, each with the certificate of a key that the token made. {failures} keys or connections that are not to be had, \
         each with its reason.\n\n| server | version |\n|---|---|\n",
        good.count()
    );
    for peer in PEERS {
        let _ = writeln!(text, "| {} | {} |", peer.name(), version::of_peer(peer));
    }
    for trial in trials {
        token(&mut text, trial);
    }
    text
}

fn token(text: &mut String, trial: &TokenTrial) {
    let _ = write!(
        text,
        "\n### {}\n\n{}\n\n| key | TLS | signed with |",
        trial.name, trial.version
    );
    for peer in PEERS {
        let _ = write!(text, " {} |", peer.name());
    }
    let _ = writeln!(text, "\n|---|---|---|{}", "---|".repeat(PEERS.len()));
    let mut reasons = Vec::new();
    for key in &trial.keys {
        rows(text, key, &mut reasons);
    }
    if !reasons.is_empty() {
        text.push('\n');
    }
    for (index, reason) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}", index + 1);
    }
}

fn rows(text: &mut String, key: &KeyTrial, reasons: &mut Vec<String>) {
    let name = key_name(&key.key_type);
    if let Some(failure) = &key.refused {
        let number = number(reasons, failure);
        let _ = write!(text, "| {name} | | |");
        let _ = writeln!(text, "{}", format!(" {number} |").repeat(PEERS.len()));
        return;
    }
    for version in VERSIONS {
        let _ = write!(
            text,
            "| {name} | {} | {} |",
            version.name(),
            scheme(key, version)
        );
        let of_version = |peer| {
            let mut all = key.handshakes.iter();
            all.find(|handshake| (handshake.peer, handshake.version) == (peer, version))
        };
        for handshake in PEERS.into_iter().filter_map(of_version) {
            let cell = match &handshake.failure {
                None => "✓".to_owned(),
                Some(failure) => number(reasons, failure),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

/// Its place among the reasons below the table.
fn number(reasons: &mut Vec<String>, failure: &Failure) -> String {
    let reason = match failure.limit {
        Some(limit) => KNOWN_LIMITS[limit].reason.to_owned(),
        None => format!("**Not explained**: {}", failure.error.replace('\n', " ")),
    };
    let known = reasons.iter().position(|known| *known == reason);
    let index = known.unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    format!("({})", index + 1)
}

fn scheme(key: &KeyTrial, version: TlsVersion) -> String {
    let mut all = key.handshakes.iter();
    let told = all.find_map(|handshake| {
        let scheme = handshake.scheme.as_deref();
        scheme.filter(|_| handshake.version == version)
    });
    told.unwrap_or_default().to_owned()
}

fn key_name(key_type: &str) -> String {
    match key_type.strip_prefix("rsa-") {
        Some(bits) => format!("RSA-{bits}"),
        None => key_type.replace("p-", "P-").replace("ed", "Ed"),
    }
}
