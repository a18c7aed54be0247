//! The CRLs of `trust update`: the list that is published takes the place of the one in the file, if it is newer, whole and
//! signed by a CA of the bundle.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hsm_mtls::internal::backoff::Backoff;
use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::crl_successor::{self, CrlError, Successor};
use hsm_mtls::internal::client::download::{DownloadError, DownloadLimits, download};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Environment;
use hsm_mtls::internal::config::paths::PathRole;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::tls::{self, TlsError};
use url::Url;

use super::super::cert::atomic_replace::{Replaced, replace_file};
use super::super::error::Error;
use super::super::setup;
use super::update::Taken;

/// The name of the step.
pub(super) const NAME: &str = "CRL";

/// A list of a million entries has less.
const LIMITS: DownloadLimits = DownloadLimits {
    bytes: 64 << 20,
    time: Duration::from_secs(120),
};

/// How often a fetch is tried, where trying again may help, and the pauses between.
const TRIES: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));

pub(super) fn update(config: &Config, file: &Path, url: &Url) -> Result<Taken, Error> {
    let anchors = Anchors::load(config)?;
    let content = fetch(config, url, LIMITS)?;
    let held = held_list(file)?;
    let now = SystemTime::now();
    match crl_successor::judge(content, held.as_ref(), &anchors, now)? {
        Successor::Same(list) => Ok(Taken {
            detail: format!("{}: nothing new; {}", file.display(), describe(&list)),
            written: None,
        }),
        Successor::Newer(list) => {
            // What TLS cannot use would keep the proxy from starting.
            tls::check_crl(list.der(), file)?;
            replace_file(config, file, &PathRole::Crl, list.der(), Replaced::Removed)?;
            Ok(Taken {
                detail: format!("{}: {}", file.display(), describe(&list)),
                written: Some(file.to_owned()),
            })
        }
    }
}

/// The list in the file, if there is one.
///
/// # Errors
/// The file cannot be read, so it is not known what would be lost; or it holds several lists.
fn held_list(file: &Path) -> Result<Option<RevocationList>, Error> {
    let mut held = match RevocationList::read(file) {
        Ok(held) => held,
        // What is no list is replaced: no certificate is looked for in it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Other) => Vec::new(),
        Err(error) => {
            return Err(TlsError::Crl {
                path: file.to_owned(),
                why: error.to_string(),
            }
            .into());
        }
    };
    match held.len() {
        0 | 1 => Ok(held.pop()),
        count => Err(CrlError::SeveralHeld(count).into()),
    }
}

fn describe(list: &RevocationList) -> String {
    let (entries, of) = (list.count(), list.this_update());
    let next = list.next_update().unwrap_or_default();
    format!(
        "of {of}, good until {next}, with {entries} entries, by {}",
        list.issuer()
    )
}

/// Fetches, and tries again after a while where that may help.
pub(super) fn fetch(config: &Config, url: &Url, limits: DownloadLimits) -> Result<Vec<u8>, Error> {
    let runtime = setup::runtime().map_err(|error| DownloadError::Http {
        url: url.to_string(),
        why: error.to_string(),
    })?;
    let mut failures = 0;
    loop {
        let fetched = runtime.block_on(download(config, url, limits));
        failures += 1;
        match fetched {
            Ok(content) => return Ok(content),
            Err(error) if error.is_transient() && failures < TRIES => {
                tracing::info!(%error, "fetching again");
                runtime.block_on(async { tokio::time::sleep(BACKOFF.delay(failures)).await });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is said where no CRL is configured.
pub(super) fn none_configured(environment: Environment) -> (&'static str, String) {
    let hint = format!(
        "to have revoked certificates noticed, write `crls = [{{ file = \"/etc/hsm-mtls/tls/issuer.crl\", url = \"{}\" }}]` into [trust]",
        environment.crl_url().unwrap_or("http://HOST/issuer.crl")
    );
    (
        "`crls` of [trust] names no list: no certificate is looked for",
        hint,
    )
}
