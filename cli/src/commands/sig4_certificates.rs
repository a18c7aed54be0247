//! The certificates of `[c3]` and `[sig4]` for commands that only read them: from files without the token, or from the token in a
//! process of its own.

use hsm_mtls::internal::certificate::{Certificate, CertificateError};
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::exit_code::ExitCode;

use super::{CommandError, Global, cert, setup, token_process};

/// Which certificates a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Sig4,
    Both,
}

/// Configuration and certificates.
pub(super) struct Sig4Certificates {
    pub(super) config: Config,
    /// Only where both are needed.
    pub(super) c3: Option<Certificate>,
    pub(super) sig4: Certificate,
}

/// The configuration with key, certificate and token of `[sig4]` in the place of those of `[c3]`.
///
/// # Errors
/// There is no `[sig4]`.
pub(super) fn view(config: &Config) -> Result<Config, CommandError> {
    config.for_sig4().ok_or_else(|| {
        CommandError::usage(
            format!("{} has no section [sig4]", config.path.display()),
            "write [sig4] with the key and the certificate that sign the tokens of JWT Auth, and their `audience`",
        )
    })
}

/// Runs `command` with the certificates.
///
/// # Errors
/// There is no `[sig4]`, a certificate cannot be read, or the command fails.
pub(super) fn run(
    global: &Global,
    needed: Needed,
    command: impl FnOnce(Sig4Certificates) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    let config = setup::config_to_read(global)?;
    let is_in_token =
        |config: &Config| matches!(config.c3.certificate, CertificateSource::Token(_));
    let opens_token =
        is_in_token(&view(&config)?) || (needed == Needed::Both && is_in_token(&config));
    match opens_token {
        true => token_process::run(global, |config| command(read(config, needed)?)),
        false => command(read(config, needed)?),
    }
}

fn read(config: Config, needed: Needed) -> Result<Sig4Certificates, CommandError> {
    let c3 = match needed {
        Needed::Both => Some(leaf(&config)?),
        Needed::Sig4 => None,
    };
    let sig4 = leaf(&view(&config)?)?;
    Ok(Sig4Certificates { config, c3, sig4 })
}

fn leaf(config: &Config) -> Result<Certificate, CommandError> {
    let installed = cert::installed_certificates(config).map_err(CommandError::stage)?;
    installed.into_iter().next().ok_or_else(|| {
        CommandError::stage(CertificateError::Empty("the configured place".to_owned()))
    })
}
