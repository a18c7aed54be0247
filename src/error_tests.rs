//! Every error of the crate, one by one: what it says, what to do next, and how a command ends.
//!
//! A variant without an example here does not compile, and each word that changes is seen in review:
//! the whole is a snapshot.

use std::path::PathBuf;

use crate::certificate::CertificateError;
use crate::client::{ClientError, Stage};
use crate::config::ConfigError;
use crate::config::uri::UriError;
use crate::csr::CsrError;
use crate::diagnostic::Diagnostic;
use crate::engine::{EngineError, ReportedError};
use crate::exit_code::ExitCode;
use crate::identity::IdentityError;
use crate::key::KeyError;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::ledger::LedgerError;
use crate::ledger::hash_chain::ChainBreak;
use crate::signer::SignerError;
use crate::tls::TlsError;
use crate::token::TokenError;
use crate::token::fault::Fault;
use crate::token::guard::PinError;

/// An error, and the name of its variant.
type Example = (&'static str, Box<dyn Diagnostic>);

/// Names each variant with examples of it, and matches on all of them. A new variant: add a line.
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

mod of_requests;
mod to_the_hub;
mod to_the_key;
mod to_the_pin;

/// An error as whoever calls this crate meets it.
trait IntoDiagnostic {
    fn into_diagnostic(self) -> Box<dyn Diagnostic>;
}

macro_rules! met_as_it_is {
    ($($error:ident),+ $(,)?) => {
        $(impl IntoDiagnostic for $error {
            fn into_diagnostic(self) -> Box<dyn Diagnostic> {
                Box::new(self)
            }
        })+
    };
}

met_as_it_is!(
    CertificateError,
    ClientError,
    ConfigError,
    CsrError,
    EngineError,
    IdentityError,
    KeyError,
    LedgerError,
    SignerError,
    TlsError,
    TokenError,
);

impl IntoDiagnostic for PinError {
    fn into_diagnostic(self) -> Box<dyn Diagnostic> {
        TokenError::from(self).into_diagnostic()
    }
}

/// A ledger that is written to tells of it so.
impl IntoDiagnostic for ChainBreak {
    fn into_diagnostic(self) -> Box<dyn Diagnostic> {
        let path = "/var/log/hsm-mtls/ledger.jsonl".into();
        LedgerError::Broken { path, why: self }.into_diagnostic()
    }
}

/// The configuration's parser tells of it so.
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

/// Each variant with an error of its stage.
fn identity() -> Vec<Example> {
    every_variant!(IdentityError {
        Certificate: [CertificateError::Empty(text("c3.pem")).into()],
        Token: [TokenError::Empty.into()],
        Key: [KeyError::Call(fault()).into()],
        Engine: [EngineError::Stopped.into()],
        Ledger: [LedgerError::Sink(text("full")).into()],
    })
}

fn all() -> Vec<Example> {
    let stages = [
        to_the_key::configuration(),
        to_the_key::ledger(),
        to_the_key::token(),
        to_the_pin::pin(),
        to_the_key::key(),
        to_the_key::engine(),
        to_the_hub::signer(),
        to_the_hub::certificate(),
        to_the_hub::csr(),
        to_the_hub::tls(),
        of_requests::client(),
        identity(),
    ];
    stages.into_iter().flatten().collect()
}

#[test]
fn each_error_says_what_is_wrong_and_what_to_do_next() {
    for (name, error) in all() {
        let (message, hint) = (error.to_string(), error.hint());
        for said in [&message, &hint] {
            assert!(!said.is_empty() && said.trim() == said, "{name}: {said:?}");
            assert!(!said.ends_with(['.', ':']), "{name}: {said}");
            for leftover in ["Some(", "None", "Os {", "Err(", "\"\"", "  "] {
                assert!(!said.contains(leftover), "{name} shows {leftover}: {said}");
            }
        }
        assert_ne!(message, hint, "{name}");
        assert_ne!(error.exit_code(), ExitCode::Good, "{name}");
    }
}

#[test]
fn the_words_are_reviewed() {
    let lines: Vec<_> = all()
        .iter()
        .map(|(name, error)| {
            let code = error.exit_code() as u8;
            format!("{name} | exit {code} | {error} | {}", error.hint())
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
