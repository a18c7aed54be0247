//! Why a step of a rotation is refused, and the next step in its place.

use std::path::PathBuf;

use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::exit_code::ExitCode;
use thiserror::Error;

/// Why a step of a rotation is not taken. Nothing was changed, where nothing else is said.
#[derive(Debug, Error)]
pub(crate) enum RotationError {
    /// Nowhere to keep the state.
    #[error("there is no folder to remember in how far the rotation is")]
    NoStateFolder,
    /// The state cannot be read or written.
    #[error("how far the rotation is cannot be kept in {}: {why}", path.display())]
    State { path: PathBuf, why: String },
    /// Another process takes a step.
    #[error("another `hsm-mtls rotate` is at work on this key")]
    Busy { lock: PathBuf },
    /// No rotation has begun.
    #[error("no rotation is under way")]
    NoneUnderWay,
    /// `start` asks for something else than what is under way.
    #[error("a rotation is under way already, to the key {key}")]
    UnderWay { key: String },
    /// The step does not come now.
    #[error("this step does not come now: {stage}")]
    WrongOrder { stage: String, next: String },
    /// The configuration names neither pair.
    #[error("key and certificate of [{section}] are neither the old pair nor the new one")]
    ThirdPair {
        section: &'static str,
        /// The lines of the old pair.
        old: String,
    },
    /// The new key is the old one, or of another kind.
    #[error("{key} cannot take the place of the old key: {why}")]
    NotAnotherKey { key: String, why: String },
    /// The certificate is of the old key.
    #[error("the certificate is of the old key, {spki}")]
    OldKeysCertificate { spki: String },
    /// The certificate is of a third key.
    #[error(
        "the certificate is of another key than the new one: {found}, and the new key is {expected}"
    )]
    OtherKeysCertificate { found: String, expected: String },
    /// The certificate has another subject.
    #[error("the subject is not that of the certificate in use: {found}, and in use is {expected}")]
    OtherSubject { found: String, expected: String },
    /// The certificate in use can no longer be used.
    #[error("the old certificate has expired ({not_after})")]
    OldExpired { not_after: String },
    /// The file of the configuration cannot be replaced by this user.
    #[error("{} cannot be changed: {why}", path.display())]
    NotWritable {
        path: PathBuf,
        why: String,
        section: &'static str,
        /// What belongs into the section.
        lines: String,
    },
    /// The file was changed meanwhile.
    #[error("{} was changed while this command ran", path.display())]
    ChangedMeanwhile { path: PathBuf },
    /// The process is no proxy.
    #[error("process {pid} is no `hsm-mtls proxy` that this user sees")]
    NoProxy { pid: u32 },
    /// The proxy goes on with the old pair.
    #[error("the proxy did not take the new pair: {why}")]
    NotReloaded { why: String },
    /// Without a ledger nobody knows which key signs.
    #[error("nothing shows that the old key is not in use any more: {why}")]
    NoEvidence { why: String },
    /// The old key has signed too recently, or the switch was too recently.
    #[error("the old key may still be needed: {what} {at}")]
    TooEarly {
        what: &'static str,
        at: String,
        until: String,
    },
    /// The new key has not signed since the switch.
    #[error("the new key has not signed for {what} since the switch")]
    NewKeyUnused { what: &'static str },
    /// The proxy's health endpoint shows the old certificate.
    #[error("the proxy that runs has the old certificate still ({x5t_s256})")]
    ProxyHasOldPair { x5t_s256: String },
    /// What is to be destroyed is not named, or something else is.
    #[error("{}", confirmation(given.as_deref(), label))]
    NotConfirmed {
        given: Option<String>,
        label: String,
    },
}

fn confirmation(given: Option<&str>, label: &str) -> String {
    match given {
        Some(given) => format!("--destroy names {given:?}, and the key is {label:?}"),
        None => format!("a key that is destroyed does not come back, and {label:?} would be"),
    }
}

impl Diagnostic for RotationError {
    fn hint(&self) -> String {
        match self {
            Self::NoStateFolder => {
                "let `state_dir` of [[token]] name a folder that this user can write to".to_owned()
            }
            Self::State { .. } => {
                "see that the folder is this user's and that nobody else may write to it; run this command as the user who has the \
                 ledger"
                    .to_owned()
            }
            Self::Busy { lock } => format!(
                "wait until it has ended (`fuser {}` names it), and run this again",
                lock.display()
            ),
            Self::NoneUnderWay => "begin with `hsm-mtls rotate start`".to_owned(),
            Self::UnderWay { .. } => {
                "go on with that one (`hsm-mtls rotate status` says how), or end it with `hsm-mtls rotate abandon`".to_owned()
            }
            Self::WrongOrder { next, .. } => next.clone(),
            Self::ThirdPair { section, old } => format!(
                "write the old pair into [{section}] again, and go on, or end this rotation with `hsm-mtls rotate abandon`: {}",
                old.replace('\n', "; ")
            ),
            Self::NotAnotherKey { .. } => {
                "name a key of the same kind that was made for this rotation, or leave --key out: then it is made in the token".to_owned()
            }
            Self::OldKeysCertificate { .. } => {
                "install the certificate that was issued for the request of `hsm-mtls rotate start`; one that renews the old key is \
                 installed by `hsm-mtls cert install`"
                    .to_owned()
            }
            Self::OtherKeysCertificate { .. } => {
                "install the certificate that was issued for the request of `hsm-mtls rotate start`, which prints it again".to_owned()
            }
            Self::OtherSubject { .. } => {
                "a rotation keeps the subject: have the request of `hsm-mtls rotate start` certified as it is, in the same application"
                    .to_owned()
            }
            Self::OldExpired { .. } => {
                "there is no way back: keep the new pair, and find what is wrong with it (`hsm-mtls verify`)".to_owned()
            }
            Self::NotWritable { section, lines, .. } => format!(
                "write this into [{section}] by hand, reload the proxy, and run this command again, which sees it: {}",
                lines.replace('\n', "; ")
            ),
            Self::ChangedMeanwhile { .. } => "nothing was written: run the command again".to_owned(),
            Self::NoProxy { .. } => {
                "it was sent no signal; give the process id of the service (`systemctl show -P MainPID hsm-mtls-proxy`), or leave --reload \
                 out and reload the service"
                    .to_owned()
            }
            Self::NotReloaded { .. } => {
                "the configuration is changed, and the proxy goes on as before: its log says why after `NOT reloaded`; correct that and \
                 reload it, or go back with `hsm-mtls rotate back`"
                    .to_owned()
            }
            Self::NoEvidence { .. } => {
                "configure a [ledger], in which each use of a key is recorded; or end the rotation with --keep, which leaves the old key in \
                 the token"
                    .to_owned()
            }
            Self::TooEarly { until, .. } => format!(
                "run this again after {until}; where the old key goes on signing, a proxy or another program has not taken the new pair yet: \
                 reload it"
            ),
            Self::NewKeyUnused { .. } => {
                "reload the proxy (`systemctl reload hsm-mtls-proxy`), have a request sent, and look at `hsm-mtls rotate status`".to_owned()
            }
            Self::ProxyHasOldPair { .. } => {
                "reload it (`systemctl reload hsm-mtls-proxy`); where that fails, its log says why after `NOT reloaded`".to_owned()
            }
            Self::NotConfirmed { label, .. } => {
                format!("if it is this one: --destroy {label}; without it the key stays in the token")
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::TooEarly { .. }
            | Self::NewKeyUnused { .. }
            | Self::ProxyHasOldPair { .. }
            | Self::NoEvidence { .. }
            | Self::NotReloaded { .. } => ExitCode::Finding,
            _ => ExitCode::Configuration,
        }
    }
}
