//! `csr`: a certificate request (PKCS#10), signed in the token.

use std::path::PathBuf;

use clap::Args;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::csr::{self, CertificateRequest};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity;
use hsm_mtls::internal::key::scheme::Scheme;
use hsm_mtls::internal::token::session::Access;
use serde_json::json;

use super::output_file::{DEFAULT_MODE, OutputFile, OutputOption};
use super::setup::RoleOption;
use super::{CommandError, Global, output, setup};

#[derive(Args)]
pub(super) struct CsrArgs {
    /// C, two capital letters
    #[arg(long)]
    country: Option<String>,
    /// O, the legal name exactly as registered
    #[arg(long)]
    organization: Option<String>,
    /// OU, the Trust Framework's organisation id (a UUID)
    #[arg(long)]
    organizational_unit: Option<String>,
    /// CN, the application's client id (a UUID)
    #[arg(long)]
    common_name: Option<String>,
    /// Write the PEM here instead of to standard output (-)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there; what the configuration names is never written over
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    role: RoleOption,
}

pub(super) fn request(
    global: &Global,
    config: &Config,
    args: CsrArgs,
) -> Result<ExitCode, CommandError> {
    let role = args.role;
    role.run(config, |view| request_for(global, config, view, args))
}

/// `config` is the whole configuration, `view` that of the key.
fn request_for(
    global: &Global,
    config: &Config,
    view: &Config,
    args: CsrArgs,
) -> Result<ExitCode, CommandError> {
    // The file is checked before the token is used.
    let option = OutputOption {
        content: "the request",
        path: args.output.as_deref(),
        force: args.force,
        mode: DEFAULT_MODE,
        json: global.json,
    };
    let file = OutputFile::claim(&option, &[config])?;
    let written_path = file.as_ref().filter(|file| !file.is_stdout());
    let written_path = written_path.map(|file| file.path().to_owned());
    // An option of the command line comes before the value of the configuration.
    let subject = view.c3.subject.clone().unwrap_or_default();
    let subject = subject.with_named([
        args.country,
        args.organization,
        args.organizational_unit,
        args.common_name,
    ]);
    let subject =
        csr::subject(&subject, config.environment.regime()).map_err(CommandError::stage)?;
    let token = setup::open_token(view).map_err(CommandError::stage)?;
    let key = identity::find_key(view, &token, None).map_err(CommandError::stage)?;
    let session = token
        .session(Access::ReadOnly)
        .map_err(CommandError::stage)?;
    let attributes = key.attributes(&session);
    let signer = identity::engine_without_certificate(view, &token).map_err(CommandError::stage)?;
    if view.c3.role == KeyRole::Sig4 {
        identity::check_ps256(&signer).map_err(CommandError::stage)?;
    }
    let CertificateRequest { pem, scheme } =
        csr::request(&signer, &subject).map_err(CommandError::stage)?;
    match file {
        Some(file) => file.write(pem.as_bytes())?,
        None if !global.json => output::raw(pem.as_bytes())?,
        None => {}
    }
    if global.json {
        output::json(&json!({ "schema": 0, "subject": subject.to_string(), "pem": pem }))?;
    } else if let Some(path) = written_path {
        output::line(&format!(
            "request for {subject}\nwritten to {}",
            path.display()
        ))?;
    }
    if let Scheme::RsaPssSha256 | Scheme::RsaPssSha384 | Scheme::RsaPssSha512 = scheme {
        output::remark(
            "the request is signed by RSA-PSS, because the key does not sign by PKCS#1 v1.5; the Trust Framework documents the latter",
        );
    }
    if let Some(warning) = attributes.import_warning() {
        output::remark(warning);
    }
    Ok(ExitCode::Good)
}
