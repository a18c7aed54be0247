//! User name and password for a forward proxy: read from their source for each connection, sent as Basic (RFC 7617), and not sent
//! again and again once they were refused. Behind such a password is often an account that a directory locks.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex as TurnLock, MutexGuard as Turn};

use super::error::ForwardProxyFailure;
use crate::backoff::Backoff;
use crate::config::network::credentials::CredentialsSource;
use crate::owner_and_mode::{FileUsers, Protection, fault_of_file_of};
use crate::poison::IgnorePoison as _;

/// The longest `user:password`, in bytes.
const MAX_LENGTH: usize = 1024;
/// How long credentials that were refused are not sent again.
const HOLD_OFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));

/// The source, and what became of what was in it.
#[derive(Debug)]
pub(super) struct Credentials {
    source: CredentialsSource,
    /// The uid of the process that reads them, whose own group may.
    reader: u32,
    shared: Arc<Shared>,
}

/// What became of the credentials of one source at one forward proxy: all of this process know it, each fetch of a key set too.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Held for a connection whose credentials were not accepted yet: several at once would try a wrong password several times.
    turn: TurnLock<()>,
}

/// By forward proxy and source.
type SharedOfAll = HashMap<(String, String), Arc<Shared>>;

static SHARED: LazyLock<Mutex<SharedOfAll>> = LazyLock::new(Mutex::default);

/// SHA-256 of what was sent.
type Digest = [u8; 32];

#[derive(Debug, Default)]
struct State {
    accepted: Option<Digest>,
    refused: Option<(Digest, Instant)>,
    refusals: u32,
}

/// The value of `Proxy-Authorization`.
pub(in crate::client) struct Authorization {
    pub(in crate::client) value: HeaderValue,
    digest: Digest,
}

impl Credentials {
    pub(super) fn new(proxy: &str, source: CredentialsSource, reader: u32) -> Self {
        let of_both = (proxy.to_owned(), source.to_string());
        let shared = Arc::clone(SHARED.lock().ignore_poison().entry(of_both).or_default());
        Self {
            source,
            reader,
            shared,
        }
    }

    pub(super) fn source(&self) -> String {
        self.source.to_string()
    }

    /// What is to be sent now, and, until it was accepted once, the turn to send it.
    ///
    /// # Errors
    /// The source cannot be read, or what is in it was refused a moment ago.
    pub(super) async fn offer(
        &self,
    ) -> Result<(Authorization, Option<Turn<'_, ()>>), ForwardProxyFailure> {
        let authorization = self.read()?;
        if self.state().accepted == Some(authorization.digest) {
            return Ok((authorization, None));
        }
        let turn = self.shared.turn.lock().await;
        self.check_refused(&authorization)?;
        Ok((authorization, Some(turn)))
    }

    fn check_refused(&self, authorization: &Authorization) -> Result<(), ForwardProxyFailure> {
        let Some((refused, until)) = self.state().refused else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        match refused == authorization.digest && !left.is_zero() {
            true => Err(ForwardProxyFailure::HeldBack(left)),
            false => Ok(()),
        }
    }

    /// Notes whether the forward proxy took them.
    pub(super) fn were(&self, authorization: &Authorization, accepted: bool) {
        let mut state = self.state();
        if accepted {
            state.accepted = Some(authorization.digest);
            (state.refused, state.refusals) = (None, 0);
            return;
        }
        state.accepted = None;
        state.refusals = match state.refused {
            Some((digest, _)) if digest == authorization.digest => state.refusals + 1,
            _ => 1,
        };
        let until = Instant::now() + HOLD_OFF.delay(state.refusals);
        state.refused = Some((authorization.digest, until));
    }

    /// What is to be sent with a request that is no CONNECT.
    ///
    /// # Errors
    /// As [`Credentials::offer`].
    pub(super) fn of_now(&self) -> Result<Authorization, ForwardProxyFailure> {
        let authorization = self.read()?;
        self.check_refused(&authorization)?;
        Ok(authorization)
    }

    fn read(&self) -> Result<Authorization, ForwardProxyFailure> {
        let failed = |why: String, advice: &str| ForwardProxyFailure::Credentials {
            source: self.source.to_string(),
            why,
            advice: advice.to_owned(),
        };
        let bytes = match &self.source {
            CredentialsSource::Url(_, secret) => {
                Zeroizing::new(secret.expose_secret().as_bytes().to_vec())
            }
            CredentialsSource::Env(name) => match env::var_os(name) {
                Some(value) => Zeroizing::new(value.into_vec()),
                None => return Err(failed("it is not set".to_owned(), "set it, or name a file")),
            },
            CredentialsSource::File(path) => read_file(path, Protection::Secret, self.reader)
                .map_err(|(why, advice)| failed(why, &advice))?,
            CredentialsSource::Credential(_) => {
                let path = self.source.file().ok_or_else(|| {
                    let why = "$CREDENTIALS_DIRECTORY is not set: not started by systemd";
                    failed(
                        why.to_owned(),
                        "write LoadCredential= in the unit, or name a file",
                    )
                })?;
                read_file(&path, Protection::Credential, self.reader)
                    .map_err(|(why, advice)| failed(why, &advice))?
            }
        };
        authorization(&bytes).map_err(|why| {
            failed(
                why.to_owned(),
                "it holds `user:password` on one line, and nothing else",
            )
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().ignore_poison()
    }
}

/// The field's value, for `user:password` and at most one line end.
fn authorization(bytes: &[u8]) -> Result<Authorization, &'static str> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_LENGTH {
        return Err("it is longer than 1024 bytes");
    }
    if text.iter().any(u8::is_ascii_control) {
        return Err("it has several lines, or a control character");
    }
    if !text.contains(&b':') {
        return Err("it has no colon between user name and password");
    }
    let encoded = SecretString::from(BASE64_STANDARD.encode(text));
    let field = Zeroizing::new(format!("Basic {}", encoded.expose_secret()));
    let mut value = HeaderValue::from_str(&field).map_err(|_| "it is no text")?;
    value.set_sensitive(true);
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    Ok(Authorization { value, digest: sum })
}

/// Reads a file that is safe from other users; else why not, and what to do.
fn read_file(
    path: &Path,
    protection: Protection,
    reader: u32,
) -> Result<Zeroizing<Vec<u8>>, (String, String)> {
    let advice =
        "check the path, and that this user may read it; `hsm-mtls config check` says more";
    let failed = |error: std::io::Error| (error.to_string(), advice.to_owned());
    let mut file = File::open(path).map_err(failed)?;
    // Of the open file, not of the path: it cannot be replaced between check and read.
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(("it is not a file".to_owned(), advice.to_owned()));
    }
    // Whose it is, and the way to it, were checked when the configuration was loaded.
    let users = FileUsers {
        owner: meta.uid(),
        reader,
    };
    if let Some(fault) = fault_of_file_of(path, &meta, protection, users) {
        let why = format!("it is not safe from other users: {fault}");
        return Err((why, fault.advice()));
    }
    let most = MAX_LENGTH + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let read = file.by_ref().take(most as u64).read_to_end(&mut bytes);
    read.map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Credentials {
        let secret = SecretString::from(text.to_owned());
        Credentials::new(text, CredentialsSource::Url("HTTPS_PROXY", secret), 0)
    }

    #[test]
    fn basic_is_what_rfc_7617_has_and_does_not_print() {
        let value = of_text("Aladdin:open sesame\r\n").of_now().unwrap().value;
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{value:?}"), "Sensitive");
        for text in ["", "\n", "s3cret", "a:s3cret\n\n", "a:\x07s3cret"] {
            let error = of_text(text).of_now().err().unwrap().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(of_text(&"a:".repeat(600)).of_now().is_err());
        let printed = format!("{:?}", of_text("a:s3cret"));
        assert!(!printed.contains("s3cret"), "{printed}");
    }

    #[tokio::test]
    async fn what_was_refused_is_held_back_and_what_was_accepted_takes_no_turns() {
        let credentials = of_text("a:b");
        let (sent, turn) = credentials.offer().await.unwrap();
        assert!(turn.is_some());
        credentials.were(&sent, false);
        drop(turn);
        let held = credentials.offer().await.err();
        assert!(matches!(held, Some(ForwardProxyFailure::HeldBack(_))));
        // The source has others: they are sent.
        let other = Credentials {
            source: of_text("a:c").source,
            ..credentials
        };
        let (sent, turn) = other.offer().await.unwrap();
        other.were(&sent, true);
        drop(turn);
        assert!(other.offer().await.unwrap().1.is_none());
    }
}
