//! Whether a certificate of ours is revoked, by the CRLs of `[trust]`: the hub refuses it then, and whoever runs it should know
//! before the hub says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::anchors::{Anchors, Chain};
use super::crl::{RevocationList, RevokedEntry};
use super::{Certificate, SignatureError};
use crate::config::Config;
use crate::config::trust::Trust;

/// What the CRLs say of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationStatus {
    /// A list of its issuer names it.
    Revoked {
        /// The file of the list.
        list: PathBuf,
        /// The entry.
        entry: RevokedEntry,
    },
    /// Lists of its issuer that are not outdated do not name it.
    NotListed(Vec<CleanList>),
    /// No list says whether it is revoked. The texts are the files, each with the reason; there are none where no file is
    /// configured.
    Unknown(Vec<String>),
}

/// A CRL that does not name the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanList {
    /// Its file.
    pub list: PathBuf,
    /// nextUpdate in RFC 3339.
    pub next_update: Option<String>,
    /// nextUpdate.
    pub outdated_from: Option<SystemTime>,
}

impl RevocationStatus {
    /// Reads the CRLs, and looks for the leaf of the chain in those that its issuer has signed. One list that names it is
    /// enough, even an outdated one.
    pub fn of(chain: &Chain, anchors: &Anchors, trust: &Trust, now: SystemTime) -> Self {
        let leaf = chain.leaf();
        let (mut clean, mut inconclusive) = (Vec::new(), Vec::new());
        for path in trust.crl_files() {
            let with_path = |text: &str| format!("{}: {text}", path.display());
            let lists = match RevocationList::read(path) {
                Ok(lists) => lists,
                Err(error) => {
                    inconclusive.push(with_path(&error.to_string()));
                    continue;
                }
            };
            for list in lists {
                match judge(&list, leaf, issuer(chain, anchors), now) {
                    Judgement::Revoked(entry) => {
                        let list = path.to_owned();
                        return Self::Revoked { list, entry };
                    }
                    Judgement::NotListed => clean.push(CleanList {
                        list: path.to_owned(),
                        next_update: list.next_update(),
                        outdated_from: list.next_update_time(),
                    }),
                    Judgement::Inconclusive(why) => inconclusive.push(with_path(&why)),
                }
            }
        }
        match clean.is_empty() {
            true => Self::Unknown(inconclusive),
            false => Self::NotListed(clean),
        }
    }

    /// The same for the first of these certificates, with anchors and CRLs as they are configured.
    pub fn of_configured(config: &Config, certificates: &[Certificate], now: SystemTime) -> Self {
        let status = Anchors::load(config).and_then(|anchors| {
            let chain = Chain::complete(certificates, &anchors, config.environment)?;
            Ok(Self::of(&chain, &anchors, &config.trust, now))
        });
        status.unwrap_or_else(|error| Self::Unknown(vec![error.to_string()]))
    }

    /// Whether it is revoked; `None` if that is not known.
    pub fn is_revoked(&self) -> Option<bool> {
        match self {
            Self::Revoked { .. } => Some(true),
            Self::NotListed(_) => Some(false),
            Self::Unknown(_) => None,
        }
    }

    /// The status in words, with the files of the lists.
    pub fn detail(&self) -> String {
        match self {
            Self::Revoked { list, entry } => revoked_text(list, entry),
            Self::NotListed(lists) => {
                let lists: Vec<_> = lists.iter().map(ToString::to_string).collect();
                lists.join("; ")
            }
            Self::Unknown(why) if why.is_empty() => {
                "not known: `crls` of [trust] names no list".to_owned()
            }
            Self::Unknown(why) => format!("not known: {}", why.join("; ")),
        }
    }

    /// When the lists that do not name it begin to be outdated.
    pub fn outdated_from(&self) -> Option<SystemTime> {
        match self {
            Self::NotListed(lists) => lists.iter().filter_map(|clean| clean.outdated_from).min(),
            Self::Revoked { .. } | Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for CleanList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not on this list", self.list.display())?;
        match &self.next_update {
            Some(next) => write!(f, ", good until {next}"),
            None => Ok(()),
        }
    }
}

/// What to do about a certificate that is revoked.
pub const REVOKED_HINT: &str = "the hub refuses it, at once or soon: ask the Trust Framework's operator who revoked it and why; then make a new key \
     and request (`hsm-mtls key generate`, `hsm-mtls csr`), because a certificate that is revoked does not come back";

fn revoked_text(list: &Path, entry: &RevokedEntry) -> String {
    let reason = entry
        .reason
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let (since, list) = (&entry.since, list.display());
    format!("its issuer revoked it: it is on the list {list} since {since}{reason}")
}

/// The CA of the chain, or the root, that issued the leaf.
fn issuer<'a>(chain: &'a Chain, anchors: &'a Anchors) -> Option<&'a Certificate> {
    let mut issuers = chain.certificates().skip(1).chain(anchors.roots());
    issuers.find(|issuer| chain.leaf().is_issued_by(issuer))
}

enum Judgement {
    Revoked(RevokedEntry),
    NotListed,
    Inconclusive(String),
}

fn judge(
    list: &RevocationList,
    leaf: &Certificate,
    issuer: Option<&Certificate>,
    now: SystemTime,
) -> Judgement {
    let inconclusive = |why: &str| Judgement::Inconclusive(why.to_owned());
    let named = issuer.filter(|issuer| list.names_as_issuer(issuer));
    match named.map(|issuer| list.check_signature(issuer)) {
        Some(Ok(())) => {}
        Some(Err(error @ (SignatureError::Unsupported(_) | SignatureError::Weak(_)))) => {
            return inconclusive(&format!("its signature cannot be checked: {error}"));
        }
        Some(Err(SignatureError::Mismatch)) | None => {
            return inconclusive("it is not of its issuer");
        }
    }
    match list.entry_of(leaf) {
        Some(entry) => Judgement::Revoked(entry),
        None if !list.covers(leaf) => inconclusive("it is a list of a part, and does not name it"),
        None if list.is_outdated(now) => inconclusive("a newer list is due"),
        None => Judgement::NotListed,
    }
}
