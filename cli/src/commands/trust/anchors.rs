//! The CAs of `trust update`: what the Trust Framework publishes is added to the bundle, if a pin or a person answers for it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::certificate::new_anchors::{
    self, AnchorError, NewAnchor, Proof, Unaccepted,
};
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read};
use hsm_mtls::internal::client::download::DownloadLimits;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::PathRole;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::token::guard::Attendance;
use secrecy::ExposeSecret as _;

use super::super::cert::atomic_replace::{Replaced, replace_file};
use super::super::error::Error;
use super::super::{output, setup};
use super::crls::fetch;
use super::update::Taken;
use crate::check_steps::plain;

/// The name of the step.
pub(super) const NAME: &str = "anchors";

const LIMITS: DownloadLimits = DownloadLimits {
    bytes: 256 << 10,
    time: Duration::from_secs(30),
};

pub(super) fn update(config: &Config, accepted: &[Fingerprint]) -> Result<Taken, Error> {
    let path = &config.trust.anchors;
    let held = match path.exists() {
        true => Some(Anchors::load(config)?),
        false => None,
    };
    let mut fetched = Vec::new();
    let urls = config.trust.anchor_urls(config.environment);
    if urls.is_empty() {
        let regime = config.environment.regime();
        return Err(AnchorError::NoUrl(&regime.name).into());
    }
    for url in &urls {
        let content = fetch(config, url, LIMITS)?;
        fetched.extend(read(&content, url.as_str())?);
    }
    let new = new_anchors::judge(config, held.as_ref(), fetched, SystemTime::now())?;
    if new.is_empty() {
        let held = held.as_ref().map_or(0, |held| held.all().count());
        let detail = format!(
            "nothing new: {} holds what is published ({held} certificates)",
            path.display()
        );
        return Ok(Taken {
            detail,
            written: None,
        });
    }
    confirm(&new, accepted)?;
    let text = with_new(path, held.as_ref(), &new)?;
    let replaced = replace_file(
        config,
        path,
        &PathRole::Anchors,
        text.as_bytes(),
        Replaced::Kept,
    )?;
    let names: Vec<_> = new.iter().map(|new| describe(&new.certificate)).collect();
    let kept = replaced.map_or(String::new(), |kept| {
        format!("; the file of before is {}", kept.display())
    });
    Ok(Taken {
        detail: format!("added to {}: {}{kept}", path.display(), names.join("; ")),
        written: Some(path.clone()),
    })
}

fn describe(certificate: &Certificate) -> String {
    format!("{} ({})", certificate.subject(), certificate.fingerprint())
}

/// Each new certificate needs a pin, `--accept`, or the word of a person at the terminal.
fn confirm(new: &[NewAnchor], accepted: &[Fingerprint]) -> Result<(), Error> {
    let attendance = setup::attendance();
    let unaccepted = new.iter().filter(|new| {
        let fingerprint = new.certificate.fingerprint();
        new.proof == Proof::Fingerprint
            && !accepted.contains(&fingerprint)
            && !is_confirmed(&attendance, &new.certificate)
    });
    let unaccepted: Vec<_> = unaccepted
        .map(|new| Unaccepted {
            subject: new.certificate.subject().to_string(),
            fingerprint: new.certificate.fingerprint(),
        })
        .collect();
    match unaccepted.is_empty() {
        true => Ok(()),
        false => Err(AnchorError::NotAccepted(unaccepted).into()),
    }
}

fn is_confirmed(attendance: &Attendance, certificate: &Certificate) -> bool {
    let Attendance::Attended(ask) = attendance else {
        return false;
    };
    let shown = format!(
        "a new CA is published:\n  subject  {}\n  issuer   {}\n  valid    {} to {}\n  SHA-256  {}",
        certificate.subject(),
        certificate.issuer(),
        certificate.not_before(),
        certificate.not_after(),
        certificate.fingerprint()
    );
    let shown = shown
        .lines()
        .map(|line| line.chars().map(plain).collect::<String>());
    output::remark(&shown.collect::<Vec<_>>().join("\n"));
    let question = "Compare the fingerprint with the Trust Framework's operator, over another channel than this network. Type yes to trust it";
    ask(question).is_ok_and(|answer| answer.expose_secret().trim() == "yes")
}

/// The text of the bundle with the new certificates behind what it holds.
fn with_new(path: &Path, held: Option<&Anchors>, new: &[NewAnchor]) -> Result<String, Error> {
    let kept = held
        .map(|_| std::fs::read(path))
        .transpose()
        .map_err(|source| CertificateError::AnchorsUnreadable {
            path: path.to_owned(),
            source,
        })?;
    let kept = kept.and_then(|bytes| String::from_utf8(bytes).ok());
    let is_pem = |text: &String| text.contains("-----BEGIN ");
    let mut text = match (kept.filter(is_pem), held) {
        (Some(text), _) => text.trim_end().to_owned() + "\n",
        // DER, or UTF-16.
        (None, Some(held)) => held.all().map(Certificate::pem).collect(),
        (None, None) => String::new(),
    };
    for new in new {
        // Not the subject: somebody else has written it, and PEM could be in it.
        text += &format!(
            "# {}\n{}",
            new.certificate.fingerprint(),
            new.certificate.pem()
        );
    }
    // What is written is what was judged, and nothing else.
    let written = read(text.as_bytes(), &path.display().to_string())?;
    let all = held.map_or(0, |held| held.all().count()) + new.len();
    let holds = |certificate: &Certificate| written.iter().any(|it| it.der() == certificate.der());
    let is_whole = written.len() == all && new.iter().all(|new| holds(&new.certificate));
    match is_whole {
        true => Ok(text),
        false => Err(CertificateError::Malformed {
            input: path.display().to_string(),
            why: "its certificates cannot be told from the text around them".to_owned(),
        }
        .into()),
    }
}
