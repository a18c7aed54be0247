//! Further `[[token]]` that hold a key for the connections: which one is used is decided anew for each connection. Each has a
//! configuration of its own, with that token in the place of the first, so that all that works with one token works with any of them.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::c3::relative_source;
use super::{C3Config, CertificateSource, Config, TokenConfig};

/// The largest `priority` and `weight`.
const MOST: u16 = 100;
/// The most tokens that hold a key for the connections: each has a process of its own.
const MOST_TOKENS: usize = 8;

/// A further token that holds a key for the connections.
#[derive(Clone, Debug)]
pub struct FailoverToken {
    /// The token.
    pub token: TokenConfig,
    /// Key and certificate: its own, or for a clone those of `[c3]`.
    pub c3: C3Config,
}

impl FailoverToken {
    pub(super) fn new(token: TokenConfig, c3: &C3Config, folder: &Path) -> Self {
        let mut c3 = c3.clone().relative_to(folder);
        if let Some(key) = &token.key {
            c3.key = key.clone();
        }
        if let Some(certificate) = &token.certificate {
            c3.certificate = relative_source(certificate.clone(), folder);
        }
        Self { token, c3 }
    }
}

impl Config {
    /// How many tokens hold a key for the connections.
    pub fn key_tokens(&self) -> usize {
        1 + self.failover.len()
    }

    /// The configuration of one of the tokens that hold a key for the connections, by its number from 0 on: with no other, and
    /// with `[sig4]` for the first only. `None`: there are not so many.
    pub fn of_key_token(&self, number: usize) -> Option<Self> {
        let mut one = self.clone();
        one.failover = Vec::new();
        one.key_token = u8::try_from(number).ok()?;
        if let Some(further) = number.checked_sub(1) {
            let FailoverToken { token, c3 } = self.failover.get(further)?.clone();
            one = one.without_sig4();
            (one.token, one.c3) = (token, c3);
        }
        Some(one)
    }

    /// The files of all certificates of ours: of each token, and of Sig4.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let of_sig4 = self.sig4.as_ref().map(|sig4| &sig4.certificate);
        let of_failover = self.failover.iter().map(|further| &further.c3.certificate);
        let all = std::iter::once(&self.c3.certificate).chain(of_sig4);
        all.chain(of_failover).filter_map(|source| match source {
            CertificateSource::File(path) => Some(path.as_path()),
            CertificateSource::Token(_) => None,
        })
    }

    /// The names of the tokens that hold a key for the connections, where there are several.
    pub fn key_token_names(&self) -> Vec<&str> {
        let further = self.failover.iter().map(|further| &further.token);
        let all = std::iter::once(&self.token).chain(further);
        match self.failover.is_empty() {
            true => Vec::new(),
            false => all.filter_map(|token| token.name.as_deref()).collect(),
        }
    }

    /// The configurations of all tokens that hold a key for the connections, in the order of the file.
    pub fn of_each_key_token(&self) -> Vec<Self> {
        let numbers = 0..self.key_tokens();
        numbers
            .filter_map(|number| self.of_key_token(number))
            .collect()
    }
}

/// What is wrong with the tokens that hold a key for the connections, of which `first` is that of `[c3]`.
///
/// # Errors
/// Field and message.
pub(super) fn check(
    first: &TokenConfig,
    further: &[TokenConfig],
    sig4: Option<&TokenConfig>,
) -> Result<(), (&'static str, String)> {
    for (token, place) in [(Some(first), "[c3]"), (sig4, "[sig4]")] {
        let Some(token) = token else {
            continue;
        };
        let fields = [
            ("key", token.key.is_some()),
            ("certificate", token.certificate.is_some()),
            ("clone", token.clone),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, is_set)| *is_set) {
            let message = format!(
                "it is for a further [[token]] with a key for the connections; that of this one stands in {place}"
            );
            return Err((field, message));
        }
    }
    if further.len() >= MOST_TOKENS {
        let message = format!("at most {MOST_TOKENS} [[token]] hold a key for the connections");
        return Err(("token", message));
    }
    let mut before = vec![first];
    for token in further {
        let known = token.name.clone().unwrap_or_else(|| token.uri.to_string());
        match (&token.certificate, token.clone) {
            (None, false) => {
                let message = format!(
                    "the further [[token]] {known:?} says neither `certificate = \"..\"`, of a key of its own, nor \
                     `clone = true`, for the key of [c3] once more; or `token` of [sig4] names it, if it is for that"
                );
                return Err(("token", message));
            }
            (Some(_), true) => {
                let message = "a clone has the key and the certificate of [c3]: leave one of the two fields out";
                return Err(("clone", message.to_owned()));
            }
            _ => {}
        }
        let (Some(name), true) = (&token.name, first.name.is_some()) else {
            let message = "each of several [[token]] has a `name`: records, metrics and messages tell them apart by it";
            return Err(("token", message.to_owned()));
        };
        if before.iter().any(|other| other.name.as_ref() == Some(name)) {
            return Err(("name", format!("two [[token]] have the name {name:?}")));
        }
        let is_same = |other: &&&TokenConfig| {
            other.module == token.module && other.uri == token.uri && other.env == token.env
        };
        if let Some(other) = before.iter().find(is_same) {
            let other = other.name.as_deref().unwrap_or_default();
            let message = format!(
                "the [[token]] {other:?} and {name:?} are one token: the same module, `uri` and `env`"
            );
            return Err(("uri", message));
        }
        before.push(token);
    }
    Ok(())
}

/// Another token has to be asked in time.
///
/// # Errors
/// The message.
pub(super) fn check_waits(
    first: &TokenConfig,
    further: &[FailoverToken],
    connect_timeout: Duration,
) -> Result<(), String> {
    let all = std::iter::once(first).chain(further.iter().map(|further| &further.token));
    let slow = all.filter(|_| !further.is_empty());
    let longest = slow.map(|token| token.failover_after).max();
    match longest.filter(|longest| *longest >= connect_timeout) {
        None => Ok(()),
        Some(longest) => Err(format!(
            "{longest:?} is not less than `connect_timeout` of [hub], {connect_timeout:?}: no other token could be asked in time"
        )),
    }
}

pub(super) fn default_share() -> u16 {
    1
}

/// After how long without a signature another token is asked.
pub(super) fn default_failover_after() -> Duration {
    Duration::from_secs(1)
}

/// A `priority` or `weight`: 1 to 100.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        number @ 1..=MOST => Ok(number),
        _ => Err(serde::de::Error::custom("write a number from 1 to 100")),
    }
}
