//! Examples of the errors of ledger, token, key and engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::pin::PinSource;
use crate::config::trust::Fingerprint;
use crate::key::ecdsa_signature::InvalidEcdsaSignature;
use crate::key::unsupported::UnsupportedKey;
use crate::ledger::LedgerError;
use crate::ledger::hash_chain::ChainBreak;
use crate::token::TokenOperation;

const TOKEN: &str = "pkcs11:token=lfi";
const KEY: &str = "pkcs11:object=c3;type=private";

fn module() -> PathBuf {
    "/opt/hsm/libvendor.so".into()
}

pub(super) fn ledger() -> Vec<Example> {
    let path = || PathBuf::from("/var/log/hsm-mtls/ledger.jsonl");
    let mut all = every_variant!(LedgerError {
        Unwritable: [LedgerError::Unwritable {
            path: path(),
            source: std::io::Error::from_raw_os_error(28)
        }],
        Unreadable: [LedgerError::Unreadable {
            path: path(),
            source: not_found()
        }],
        Locked: [LedgerError::Locked {
            path: path(),
            after: Duration::from_secs(1)
        }],
        Broken: [LedgerError::Broken {
            path: path(),
            why: ChainBreak::Hash { sequence: 7 }
        }],
        Replaced: [LedgerError::Replaced {
            path: path(),
            why: "it is gone"
        }],
        Unsynced: [LedgerError::Unsynced {
            path: path(),
            source: std::io::Error::from_raw_os_error(5)
        }],
        NoThread: [LedgerError::NoThread {
            path: path(),
            source: std::io::Error::from_raw_os_error(11)
        }],
        TooLong: [LedgerError::TooLong {
            path: path(),
            bytes: 70_214,
            max: 16_384
        }],
        Unsafe: [LedgerError::Unsafe {
            path: "/var/log/hsm-mtls/ledger.jsonl".into(),
            why: text(
                "the folder /var/log/hsm-mtls (root:root, mode 0777): everybody may write to it"
            ),
            advice: text("`chmod go-w /var/log/hsm-mtls`"),
        }],
        Unfit: [LedgerError::Unfit {
            path: path(),
            why: "it is not a file"
        }],
        Sink: [LedgerError::Sink(text("full"))],
    });
    all.extend(every_variant!(ChainBreak {
        NoRecord: [ChainBreak::NoRecord { sequence: 7 }],
        OutOfOrder: [ChainBreak::OutOfOrder {
            sequence: 7,
            found: 9
        }],
        Hash: [ChainBreak::Hash { sequence: 7 }],
    }));
    all
}

pub(super) fn token() -> Vec<Example> {
    let hash = |byte| Fingerprint([byte; 32]);
    let no_answer = |during| TokenError::NoAnswer {
        during,
        after: Duration::from_secs(60),
    };
    every_variant!(TokenError {
        ModuleMissing: [TokenError::ModuleMissing {
            path: module(),
            source: not_found()
        }],
        ModuleUnsafe: [TokenError::ModuleUnsafe {
            why: text("the folder /opt/hsm (root:root, mode 0777): everybody may write to it"),
            advice: text("`chmod go-w /opt/hsm`"),
        }],
        ModuleChanged: [TokenError::ModuleChanged {
            path: module(),
            expected: hash(1),
            found: hash(2)
        }],
        ModuleLoad: [TokenError::ModuleLoad {
            path: module(),
            detail: text("it is not a file")
        }],
        EnvironmentNotApplied: [TokenError::EnvironmentNotApplied {
            name: text("SOFTHSM2_CONF")
        }],
        WorkingDir: [TokenError::WorkingDir {
            path: "/opt/azurecloudhsm".into(),
            why: text("it is not a folder"),
            advice: text("correct `working_dir` of [[token]]"),
        }],
        WorkingDirNotEntered: [TokenError::WorkingDirNotEntered {
            path: "/opt/azurecloudhsm".into(),
            current: "/srv/app".into(),
        }],
        Initialize: [TokenError::Initialize(fault())],
        Empty: [TokenError::Empty],
        OutOfReach: [TokenError::OutOfReach {
            failed: Box::new(TokenError::Empty),
            seen: text("SOFTHSM2_CONF names /etc/softhsm2.conf: /etc/softhsm2.conf is not there"),
            advice: text("correct the path, or put the file there"),
        }],
        NoMatch: [TokenError::NoMatch {
            uri: text(TOKEN),
            candidates: vec![text("pkcs11:token=other")]
        }],
        AnotherToken: [TokenError::AnotherToken {
            before: text("pkcs11:token=lfi;serial=4711"),
            now: text("pkcs11:token=lfi;serial=4712"),
        }],
        Ambiguous: [TokenError::Ambiguous {
            uri: text(TOKEN),
            candidates: vec![text(TOKEN), text(TOKEN)]
        }],
        NoAnswer: [
            no_answer(TokenOperation::Login),
            no_answer(TokenOperation::PinSent),
            no_answer(TokenOperation::KeyGeneration)
        ],
        Ledger: [TokenError::Ledger(LedgerError::Sink(text("full")))],
        Pin: [TokenError::Pin(PinError::NobodyThere(PinSource::Prompt))],
        Call: [TokenError::Call(fault())],
    })
}

pub(super) fn key() -> Vec<Example> {
    let none = |logged_in| KeyError::NoneShown {
        uri: text(KEY),
        logged_in,
    };
    every_variant!(KeyError {
        Ledger: [KeyError::Ledger(LedgerError::Sink(text("full")))],
        NoMatch: [KeyError::NoMatch {
            uri: text(KEY),
            candidates: vec![text("pkcs11:object=c4")]
        }],
        NoneShown: [none(true), none(false)],
        Ambiguous: [KeyError::Ambiguous {
            uri: text(KEY),
            candidates: vec![text(KEY), text(KEY)]
        }],
        NotOfCertificate: [KeyError::NotOfCertificate {
            uri: text(KEY),
            expected: text("sha256:01"),
            candidates: vec![text("pkcs11:object=c3 (sha256:02)")],
        }],
        PublicKeyWithheld: [KeyError::PublicKeyWithheld { uri: text(KEY) }],
        Unsupported: [KeyError::Unsupported {
            uri: text(KEY),
            kind: UnsupportedKey::rsa(1024),
        }],
        LabelTaken: [KeyError::LabelTaken {
            label: text("c3"),
            uri: text(KEY)
        }],
        CertificateThere: [KeyError::CertificateThere {
            uri: text("pkcs11:object=c3;type=cert")
        }],
        CannotGenerate: [KeyError::CannotGenerate(text("RSA-2048"))],
        NotAsAsked: [KeyError::NotAsAsked {
            uri: text(KEY),
            why: text("CKA_EXTRACTABLE not false")
        }],
        ClaimsMore: [KeyError::ClaimsMore],
        VendorTool: [KeyError::VendorTool {
            why: "keys of this HSM are made with the vendor's tool",
            advice: "type `vendor-tool create-key`"
        }],
        KnownClaims: [KeyError::KnownClaims {
            claim: "the module says CKA_DECRYPT true of each RSA key"
        }],
        NotFoundYet: [KeyError::NotFoundYet {
            uri: text(KEY),
            after: Duration::from_secs(30),
        }],
        LeftBehind: [KeyError::LeftBehind {
            uri: text(KEY),
            why: fault()
        }],
        Call: [KeyError::Call(fault())],
    })
}

pub(super) fn engine() -> Vec<Example> {
    let no_mechanism = |algorithm, listed| EngineError::NoMechanism {
        uri: text(KEY),
        algorithm,
        listed,
    };
    every_variant!(EngineError {
        Ledger: [EngineError::Ledger(LedgerError::Sink(text("full")))],
        Deadline: [EngineError::Deadline(Duration::from_secs(5))],
        TokenDown: [
            EngineError::TokenDown {
                since: text("2026-01-01T00:00:00Z"),
                last: None,
                in_vain: 0,
            },
            EngineError::TokenDown {
                since: text("2026-01-01T00:00:00Z"),
                last: Some(Arc::new(EngineError::Token(TokenError::Empty))),
                in_vain: 0,
            },
            EngineError::TokenDown {
                since: text("2026-01-01T00:00:00Z"),
                last: Some(Arc::new(EngineError::Token(TokenError::Empty))),
                in_vain: 10,
            },
        ],
        QueueFull: [EngineError::QueueFull(128)],
        Stopped: [EngineError::Stopped],
        NoMechanism: [
            no_mechanism(KeyAlgorithm::Rsa { bits: 2048 }, vec![text("CKM_ECDSA")]),
            no_mechanism(
                KeyAlgorithm::EcP256,
                vec![text("CKM_RSA_PKCS"), text("CKM_EDDSA")]
            ),
            no_mechanism(KeyAlgorithm::Ed25519, vec![]),
        ],
        Scheme: [EngineError::Scheme(Scheme::RsaPssSha256)],
        Call: [EngineError::Call(fault())],
        Token: [EngineError::Token(TokenError::Empty)],
        Key: [EngineError::Key(KeyError::PublicKeyWithheld {
            uri: text(KEY)
        })],
        Pin: [EngineError::Pin(PinError::Refused(fault()))],
        MalformedSignature: [EngineError::MalformedSignature(InvalidEcdsaSignature {
            len: 63,
            field_len: 32
        })],
        WrongSignature: [EngineError::WrongSignature {
            scheme: Scheme::EcdsaP256Sha256
        }],
        NotThePair: [EngineError::NotThePair { uri: text(KEY) }],
        NoRandom: [EngineError::NoRandom],
        Reported: [EngineError::Reported(Box::new(ReportedError {
            message: text("the PIN was refused"),
            hint: text("put the right PIN into its source"),
            class: text("pin"),
            exit: 4,
            transient: false,
            device_state: None,
        }))],
        SignerSilent: [EngineError::SignerSilent],
        SignerGone: [EngineError::SignerGone {
            why: text("signal: 11 (SIGSEGV)")
        }],
        MessageTooLong: [EngineError::MessageTooLong {
            length: 200_000,
            most: 160_000
        }],
    })
}
