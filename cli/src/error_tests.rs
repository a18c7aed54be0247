//! Message, hint and exit code of every error of the proxy, and of [`Error`], which gathers the errors of all stages. The
//! library's errors are tested in the same way in its `error_tests`.

use hsm_mtls::internal::certificate::CertificateError;
use hsm_mtls::internal::certificate::crl_successor::CrlError;
use hsm_mtls::internal::certificate::new_anchors::AnchorError;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::download::DownloadError;
use hsm_mtls::internal::client::jwks_fetch::FetchError;
use hsm_mtls::internal::config::ConfigError;
use hsm_mtls::internal::config::SubjectError;
use hsm_mtls::internal::csr::CsrError;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{IdentityError, Sig4Error};
use hsm_mtls::internal::jwks::JwksError;
use hsm_mtls::internal::key::KeyError;
use hsm_mtls::internal::ledger::LedgerError;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::tls::TlsError;
use hsm_mtls::internal::token::TokenError;

use crate::commands::error::Error;
use crate::commands::rotate::RotationError;
use crate::commands::token_process::TokenProcessError;
use crate::proxy::ProxyError;

/// An error, and the name of its variant.
type Example = (&'static str, Box<dyn Diagnostic>);

/// Lists examples of each variant. It matches on all variants: a new one does not compile without a line here.
macro_rules! every_variant {
    ($enum:ident { $($variant:ident: [$($example:expr),+ $(,)?],)+ }) => {{
        let name = |error: &$enum| match error {
            $($enum::$variant { .. } => concat!(stringify!($enum), "::", stringify!($variant)),)+
        };
        let mut examples: Vec<Example> = Vec::new();
        $($(
            let example: $enum = $example;
            assert_eq!(name(&example), concat!(stringify!($enum), "::", stringify!($variant)));
            examples.push((name(&example), Box::new(example)));
        )+)+
        examples
    }};
}

fn owned(text: &str) -> String {
    text.to_owned()
}

fn not_found() -> std::io::Error {
    std::io::Error::from_raw_os_error(2)
}

fn proxy_errors() -> Vec<Example> {
    let not_handed_over = |found: &[&str]| ProxyError::NotHandedOver {
        name: owned("hub"),
        found: found.iter().map(|name| owned(name)).collect(),
    };
    every_variant!(ProxyError {
        NotConfigured: [ProxyError::NotConfigured],
        Listen: [ProxyError::Listen {
            address: owned("127.0.0.1:8080"),
            reason: owned("address in use")
        }],
        NotHandedOver: [not_handed_over(&[]), not_handed_over(&["cm", "hh"])],
        CallerToken: [ProxyError::CallerToken {
            path: "/etc/bank/caller".into(),
            reason: owned("it is not a file")
        }],
        AccessLog: [ProxyError::AccessLog {
            path: "/var/log/access.jsonl".into(),
            source: not_found()
        }],
        System: [ProxyError::System(not_found())],
        Config: [ConfigError::Unnamed.into()],
        Signer: [SignerError::NotStartedByUs.into()],
        Tls: [TlsError::NotAsked.into()],
        Client: [ClientError::NoPing.into()],
    })
}

/// Each variant of [`Error`], with an error of its stage.
fn stage_errors() -> Vec<Example> {
    every_variant!(Error {
        Config: [ConfigError::Unnamed.into()],
        Token: [TokenError::Empty.into()],
        Key: [KeyError::Ledger(LedgerError::Sink(owned("full"))).into()],
        Ledger: [LedgerError::Sink(owned("full")).into()],
        Engine: [EngineError::Stopped.into()],
        Certificate: [CertificateError::Empty(owned("c3.pem")).into()],
        Anchor: [AnchorError::NotACa(owned("CN=leaf")).into()],
        Crl: [CrlError::Several(2).into()],
        Download: [DownloadError::Url.into()],
        Csr: [CsrError::from(SubjectError::Missing("O".to_owned())).into()],
        Identity: [IdentityError::from(TokenError::Empty).into()],
        Sig4: [Sig4Error::SameKey {
            uri: owned("pkcs11:object=sig4")
        }
        .into()],
        Jwks: [JwksError::TooManyKeys(101).into()],
        Fetch: [FetchError::Status(404).into()],
        Signer: [SignerError::NotStartedByUs.into()],
        Tls: [TlsError::NotAsked.into()],
        Client: [ClientError::TooLong(1 << 20).into()],
        Proxy: [ProxyError::NotConfigured.into()],
        TokenProcess: [TokenProcessError::Start(not_found()).into()],
        Rotation: [RotationError::NoneUnderWay.into()],
    })
}

fn rotation_errors() -> Vec<Example> {
    let lines = || owned("key = \"pkcs11:object=c3\"\ncertificate = \"c3.pem\"");
    let until = || owned("2026-12-01T10:00:00Z");
    let not_confirmed = |given: Option<&str>| RotationError::NotConfirmed {
        given: given.map(owned),
        label: owned("c3"),
    };
    every_variant!(RotationError {
        NoStateFolder: [RotationError::NoStateFolder],
        State: [RotationError::State {
            path: "/var/lib/hsm-mtls/rotation-c3-0011.json".into(),
            why: owned("it is of another version"),
        }],
        Busy: [RotationError::Busy {
            lock: "/var/lib/hsm-mtls/rotation-c3-0011.lock".into(),
        }],
        NoneUnderWay: [RotationError::NoneUnderWay],
        UnderWay: [RotationError::UnderWay {
            key: owned("c3-2026-11-30"),
        }],
        WrongOrder: [RotationError::WrongOrder {
            stage: owned("the new pair is tested and not in use"),
            next: owned("run `hsm-mtls rotate switch`"),
        }],
        ThirdPair: [RotationError::ThirdPair {
            section: "c3",
            old: lines(),
        }],
        NotAnotherKey: [RotationError::NotAnotherKey {
            key: owned("pkcs11:object=ceremony"),
            why: owned("it is P-256, and the old one RSA-2048"),
        }],
        OldKeysCertificate: [RotationError::OldKeysCertificate {
            spki: owned("sha256:aa"),
        }],
        OtherKeysCertificate: [RotationError::OtherKeysCertificate {
            found: owned("sha256:aa"),
            expected: owned("sha256:bb"),
        }],
        OtherSubject: [RotationError::OtherSubject {
            found: owned("C=AE,O=Other"),
            expected: owned("C=AE,O=Bank"),
        }],
        OldExpired: [RotationError::OldExpired { not_after: until() }],
        NotWritable: [RotationError::NotWritable {
            path: "/etc/hsm-mtls/preprod.toml".into(),
            why: owned("this user may not write to the folder /etc/hsm-mtls"),
            section: "c3",
            lines: lines(),
        }],
        ChangedMeanwhile: [RotationError::ChangedMeanwhile {
            path: "/etc/hsm-mtls/preprod.toml".into(),
        }],
        NoProxy: [RotationError::NoProxy { pid: 1 }],
        NotReloaded: [RotationError::NotReloaded {
            why: owned("it refused the reload"),
        }],
        NoEvidence: [RotationError::NoEvidence {
            why: owned("there is no ledger"),
        }],
        TooEarly: [RotationError::TooEarly {
            what: "it signed last at",
            at: owned("2026-11-30T10:00:00Z"),
            until: until(),
        }],
        NewKeyUnused: [RotationError::NewKeyUnused {
            what: "a handshake",
        }],
        ProxyHasOldPair: [RotationError::ProxyHasOldPair {
            x5t_s256: owned("4Yz"),
        }],
        NotConfirmed: [not_confirmed(None), not_confirmed(Some("c4"))],
    })
}

fn all() -> Vec<Example> {
    [proxy_errors(), stage_errors(), rotation_errors()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn each_error_says_what_is_wrong_and_what_to_do_next() {
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
