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
use crate::engine::{EngineError, ReportedError};
use crate::error::{Error, ExitCode};
use crate::key::KeyError;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::ledger::LedgerError;
use crate::ledger::chain::Broken;
use crate::proxy::ProxyError;
use crate::signer::SignerError;
use crate::tls::TlsError;
use crate::token::TokenError;
use crate::token::fault::Fault;
use crate::token::guard::PinError;

/// Names each variant with examples of it, and matches on all of them. A new variant: add a line.
macro_rules! every_variant {
    ($enum:ident { $($variant:ident: [$($example:expr),+ $(,)?],)+ }) => {{
        let name = |error: &$enum| match error {
            $($enum::$variant { .. } => concat!(stringify!($enum), "::", stringify!($variant)),)+
        };
        let mut all: Vec<(&'static str, Error)> = Vec::new();
        $($(
            let example: $enum = $example;
            assert_eq!(name(&example), concat!(stringify!($enum), "::", stringify!($variant)));
            all.push((name(&example), Error::from(example)));
        )+)+
        all
    }};
}

mod of_requests;
mod to_the_hub;
mod to_the_key;
mod to_the_pin;

/// A command meets it so.
impl From<PinError> for Error {
    fn from(error: PinError) -> Self {
        TokenError::from(error).into()
    }
}

/// A ledger that is written to tells of it so.
impl From<Broken> for Error {
    fn from(why: Broken) -> Self {
        let path = "/var/log/hsm-mtls/ledger.jsonl".into();
        LedgerError::Broken { path, why }.into()
    }
}

/// The configuration's parser tells of it so.
impl From<UriError> for Error {
    fn from(error: UriError) -> Self {
        let (path, field) = (PathBuf::from("/etc/bank.toml"), "uri".to_owned());
        let message = error.to_string();
        Self::Config(ConfigError::Field {
            path,
            line: 7,
            field,
            message,
            advice: None,
        })
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

/// The gathering enum, each variant with an error of its stage.
fn gathering() -> Vec<(&'static str, Error)> {
    every_variant!(Error {
        Config: [ConfigError::Unnamed.into()],
        Token: [TokenError::Empty.into()],
        Key: [KeyError::Call(fault()).into()],
        Ledger: [LedgerError::Sink(text("full")).into()],
        Engine: [EngineError::Stopped.into()],
        Certificate: [CertificateError::Empty(text("c3.pem")).into()],
        Csr: [CsrError::SubjectMissing("O").into()],
        Signer: [SignerError::NotStartedByUs.into()],
        Tls: [TlsError::NotAsked.into()],
        Client: [ClientError::TooLong(1 << 20).into()],
        Proxy: [ProxyError::NotConfigured.into()],
    })
}

fn all() -> Vec<(&'static str, Error)> {
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
        of_requests::proxy(),
        gathering(),
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
