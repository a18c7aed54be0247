//! Message, hint and exit code of every error of the crate, as a snapshot: each change of a word is seen in review. A
//! variant without an example does not compile.

use std::path::PathBuf;

use crate::certificate::CertificateError;
use crate::certificate::crl_successor::CrlError;
use crate::certificate::new_anchors::AnchorError;
use crate::client::download::DownloadError;
use crate::client::jwks_fetch::FetchError;
use crate::client::{ClientError, Stage};
use crate::config::ConfigError;
use crate::config::environment::Environment;
use crate::config::uri::UriError;
use crate::csr::CsrError;
use crate::diagnostic::Diagnostic;
use crate::engine::{EngineError, ReportedError};
use crate::exit_code::ExitCode;
use crate::identity::{IdentityError, Sig4Error};
use crate::jwks::JwksError;
use crate::key::KeyError;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::ledger::LedgerError;
use crate::ledger::hash_chain::ChainBreak;
use crate::regime::Regime;
use crate::signer::SignerError;
use crate::tls::TlsError;
use crate::token::TokenError;
use crate::token::fault::Fault;
use crate::token::guard::PinError;

fn environment(name: &str) -> Environment {
    Environment::named(Regime::named("uae").unwrap(), name).unwrap()
}

/// The name of a variant, and an error of it.
type Example = (&'static str, Box<dyn Diagnostic>);

/// Examples of each variant of an enum. It matches on all variants, so that a new one needs a line.
macro_rules! every_variant {
    ($enum:ident { $($variant:ident: [$($example:expr),+ $(,)?],)+ }) => {{
        let name = |error: &$enum| match error {
            $($enum::$variant { .. } => concat!(stringify!($enum), "::", stringify!($variant)),)+
        };
        let mut all: Vec<Example> = Vec::new();
        $($(
            let example: $enum = $example;
            assert_eq!(name(&example), concat!(stringify!($enum), "::", stringify!($variant)));
            all.push((name(&example), example.into_diagnostic()));
        )+)+
        all
    }};
}

mod client;
mod config;
mod pin;
mod tls;
mod token;
mod trust;

/// Converts an error into the error of the public interface that contains it.
trait IntoDiagnostic {
    fn into_diagnostic(self) -> Box<dyn Diagnostic>;
}

macro_rules! public_errors {
    ($($error:ident),+ $(,)?) => {
        $(impl IntoDiagnostic for $error {
            fn into_diagnostic(self) -> Box<dyn Diagnostic> {
                Box::new(self)
            }
        })+
    };
}

public_errors!(
    AnchorError,
    CertificateError,
    ClientError,
    ConfigError,
    CrlError,
    CsrError,
    DownloadError,
    EngineError,
    FetchError,
    IdentityError,
    JwksError,
    KeyError,
    LedgerError,
    Sig4Error,
    SignerError,
    TlsError,
    TokenError,
);

impl IntoDiagnostic for PinError {
    fn into_diagnostic(self) -> Box<dyn Diagnostic> {
        TokenError::from(self).into_diagnostic()
    }
}

/// As [`crate::ledger::FileLedger`] reports it.
impl IntoDiagnostic for ChainBreak {
    fn into_diagnostic(self) -> Box<dyn Diagnostic> {
        let path = "/var/log/hsm-mtls/ledger.jsonl".into();
        LedgerError::Broken { path, why: self }.into_diagnostic()
    }
}

/// As [`crate::config::Config::parse`] reports it.
impl IntoDiagnostic for UriError {
    fn into_diagnostic(self) -> Box<dyn Diagnostic> {
        let (path, field) = (PathBuf::from("/etc/bank.toml"), "uri".to_owned());
        ConfigError::Field {
            path,
            line: 7,
            field,
            message: self.to_string(),
            advice: None,
        }
        .into_diagnostic()
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn fault() -> Fault {
    Fault::answer("C_Sign returned CKR_DEVICE_ERROR")
}

fn not_found() -> std::io::Error {
    std::io::Error::from_raw_os_error(2)
}

/// Each variant with one error of the module that it wraps.
fn identity() -> Vec<Example> {
    every_variant!(IdentityError {
        Certificate: [CertificateError::Empty(text("c3.pem")).into()],
        Token: [TokenError::Empty.into()],
        Key: [KeyError::Call(fault()).into()],
        Engine: [EngineError::Stopped.into()],
        Ledger: [LedgerError::Sink(text("full")).into()],
        Sig4: [Sig4Error::from(IdentityError::from(TokenError::Empty)).into()],
    })
}

fn sig4() -> Vec<Example> {
    let uri = || text("pkcs11:object=sig4");
    every_variant!(Sig4Error {
        Subject: [Sig4Error::Subject {
            attribute: "O",
            found: 2,
            subject: text("O=A, O=B"),
            application: Some("the-client"),
        }],
        Kid: [Sig4Error::Kid(Box::new(ConfigError::Field {
            path: "/etc/bank.toml".into(),
            line: 0,
            field: text("kid"),
            message: text("the certificate of [sig4] has another kid"),
            advice: Some(text("install the certificate that the kid belongs to")),
        }))],
        SameKey: [Sig4Error::SameKey { uri: uri() }],
        NoPs256: [Sig4Error::NoPs256 {
            uri: uri(),
            schemes: text("ecdsa_secp256r1_sha256"),
        }],
        Identity: [Sig4Error::from(IdentityError::from(TokenError::Empty))],
    })
}

fn jwks() -> Vec<Example> {
    every_variant!(JwksError {
        TooLong: [JwksError::TooLong(300_000)],
        NotJson: [JwksError::NotJson(text("line 1, column 1"))],
        Twice: [JwksError::Twice { line: 3, column: 7 }],
        NotASet: [JwksError::NotASet("it has no `keys`")],
        TooManyKeys: [JwksError::TooManyKeys(101)],
    })
}

fn all() -> Vec<Example> {
    let stages = [
        config::configuration(),
        token::ledger(),
        token::token(),
        pin::pin(),
        token::key(),
        token::engine(),
        tls::signer(),
        tls::certificate(),
        tls::csr(),
        tls::tls(),
        client::client(),
        client::jwks_fetch(),
        trust::download(),
        trust::crl(),
        trust::anchor(),
        identity(),
        sig4(),
        jwks(),
    ];
    stages.into_iter().flatten().collect()
}

#[test]
fn each_error_has_a_message_a_hint_and_an_exit_code() {
    for (name, error) in all() {
        let (message, hint) = (error.to_string(), error.hint());
        for text in [&message, &hint] {
            assert!(!text.is_empty() && text.trim() == text, "{name}: {text:?}");
            assert!(!text.ends_with(['.', ':']), "{name}: {text}");
            for leftover in ["Some(", "None", "Os {", "Err(", "\"\"", "  "] {
                assert!(!text.contains(leftover), "{name} shows {leftover}: {text}");
            }
        }
        assert_ne!(message, hint, "{name}");
        assert_ne!(error.exit_code(), ExitCode::Good, "{name}");
    }
}

#[test]
fn messages_and_hints() {
    let lines: Vec<_> = all()
        .iter()
        .map(|(name, error)| {
            let code = error.exit_code() as u8;
            format!("{name} | exit {code} | {error} | {}", error.hint())
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
