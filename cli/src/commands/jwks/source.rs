//! Where a key set is read from: the configured or derived URL, another URL, or a file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::{COMMON_NAME, ORGANIZATIONAL_UNIT};
use hsm_mtls::internal::client::jwks_fetch::{self, FetchError, FetchedSet};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::jwks::MAX_LEN;
use hsm_mtls::internal::jwks::location::key_set_url;
use url::Url;

use super::super::{CommandError, setup};

/// The end of the URL of an application's set, and of a set of retired keys.
const FILE_NAME: &str = "application.jwks";

/// Where a key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Source {
    Url(Url),
    File(PathBuf),
}

impl Source {
    /// `jwks` of `[sig4]`, or the URL that the scheme documents for the certificate's subject.
    ///
    /// # Errors
    /// The subject has no OU and CN.
    pub(in crate::commands) fn of_certificate(
        config: &Config,
        certificate: &Certificate,
    ) -> Result<Self, CommandError> {
        key_set_url(config, certificate)
            .map(Self::Url)
            .ok_or_else(|| {
                CommandError::usage(
                    format!(
                        "no URL of a key set follows from the subject of the Sig4 certificate: {}",
                        certificate.subject()
                    ),
                    "write the URL in `jwks` of [sig4], or give it with --url",
                )
            })
    }

    /// Reads a text of the command line: an https URL, or a file.
    pub(in crate::commands) fn parse(text: &str) -> Result<Self, String> {
        match text.contains("://") {
            true => parse_url(text).map(Self::Url),
            false if text.is_empty() => Err("the name of the file is empty".to_owned()),
            false => Ok(Self::File(text.into())),
        }
    }

    /// Its content.
    ///
    /// # Errors
    /// It cannot be fetched or read.
    pub(in crate::commands) fn load(&self, config: &Config) -> Result<FetchedSet, CommandError> {
        match self {
            Self::Url(url) => fetch(config, url)?.map_err(CommandError::stage),
            Self::File(path) => Ok(FetchedSet {
                body: read_bounded(path)?.into(),
                ..FetchedSet::default()
            }),
        }
    }

    /// For a person.
    pub(in crate::commands) fn describe(&self) -> String {
        match self {
            Self::Url(url) => url.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The set of the organisation's retired keys, where this is an application's set at the documented path.
    pub(super) fn retired(&self, certificate: &Certificate) -> Option<Url> {
        let Self::Url(url) = self else {
            return None;
        };
        let subject = certificate.subject();
        let organization = subject.first(ORGANIZATIONAL_UNIT)?;
        let client = subject.first(COMMON_NAME)?;
        let documented = format!("/{organization}/{client}/{FILE_NAME}");
        let base = url.path().strip_suffix(&documented)?;
        let mut retired = url.clone();
        retired.set_path(&format!("{base}/{organization}/inactive/{FILE_NAME}"));
        Some(retired)
    }
}

/// Fetches a set within its deadline.
///
/// # Errors
/// The outer one: there is no runtime. The inner one: it cannot be fetched.
pub(super) fn fetch(
    config: &Config,
    url: &Url,
) -> Result<Result<FetchedSet, FetchError>, CommandError> {
    let runtime = setup::runtime()?;
    let fetched = runtime.block_on(jwks_fetch::fetch(config, url));
    // A lookup of the name that is not over cannot be ended, and would be waited for.
    runtime.shutdown_background();
    Ok(fetched)
}

/// Parses an https URL.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let has_user = |url: &Url| !url.username().is_empty() || url.password().is_some();
    url.filter(|url| url.scheme() == "https" && url.has_host() && !has_user(url))
        .ok_or_else(|| {
            "write an https URL without user and password, such as https://keystore.example/ORG/CLIENT/application.jwks"
                .to_owned()
        })
}

/// Reads a file, and no more of it than is judged: one byte beyond the bound shows that it is longer.
fn read_bounded(path: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut bounded = file.take(MAX_LEN as u64 + 1);
        bounded.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(CommandError::usage(
            format!("the JWKS cannot be read from {}: {error}", path.display()),
            "name a file that this user can read",
        )),
    }
}
