//! Examples of the errors of the signer process, of certificates, certificate requests and TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::certificate::file_format::{Encoding, FileFormat};
use crate::certificate::{CertificateError, SignatureError};
use crate::config::SubjectError;
use crate::config::pin::PinSource;
use crate::config::trust::Fingerprint;
use crate::key::scheme::KeyAlgorithm;
use crate::key::unsupported::UnsupportedKey;
use crate::tls::issuers::ForeignIssuer;
use crate::tls::{Ending, HandshakePhase};

const NAME: &str = "C=AE, CN=c3";

fn pem() -> PathBuf {
    "/etc/bank/c3.pem".into()
}

pub(super) fn signer() -> Vec<Example> {
    let in_reach = |access_log| SignerError::InReach {
        what: "the PIN",
        secret: "/etc/hsm-mtls/pin".into(),
        folder: "/etc/hsm-mtls".into(),
        access_log,
    };
    every_variant!(SignerError {
        LauncherEnded: [SignerError::LauncherEnded],
        NotListening: [SignerError::NotListening],
        NotWatched: [SignerError::NotWatched {
            error: std::io::Error::from_raw_os_error(24),
        }],
        ReaderEnded: [SignerError::ReaderEnded {
            status: text("signal: 9 (SIGKILL)")
        }],
        ConfigurationUnread: [SignerError::ConfigurationUnread { seconds: 30 }],
        Spawn: [SignerError::Spawn {
            program: "/usr/bin/hsm-mtls".into(),
            why: text("No such file or directory"),
        }],
        Handover: [SignerError::Handover {
            why: text("Too many open files")
        }],
        NotStartedByUs: [SignerError::NotStartedByUs],
        Description: [SignerError::Description {
            why: text("missing field `key`")
        }],
        PinSource: [SignerError::PinSource {
            pin_source: PinSource::Prompt,
            why: "nobody is there when the signer process is started again",
        }],
        Hardening: [
            SignerError::Hardening {
                part: "Landlock",
                why: text("this kernel has none"),
            },
            SignerError::Hardening {
                part: "system call filter",
                why: text("Function not implemented (os error 38)"),
            }
        ],
        InReach: [in_reach(false), in_reach(true)],
        OutOfReach: [SignerError::OutOfReach {
            folder: "/etc/elsewhere".into(),
        }],
        NeedsRestart: [SignerError::NeedsRestart {
            what: "[[proxy.listener]]",
        }],
        NoOffer: [SignerError::NoOffer {
            why: text("Broken pipe"),
        }],
        Config: [ConfigError::Unnamed.into()],
        Identity: [IdentityError::from(TokenError::Empty).into()],
    })
}

pub(super) fn certificate() -> Vec<Example> {
    let unfit = |why| CertificateError::NotForClients {
        subject: text(NAME),
        why,
    };
    let in_token = |candidates| CertificateError::NotOneInToken {
        uri: text("pkcs11:type=cert"),
        candidates,
    };
    let not_one = |format| CertificateError::NotACertificate {
        input: text("/etc/bank/c3.pem"),
        format,
    };
    let roots = || vec![text("C=AE, CN=Root")];
    every_variant!(CertificateError {
        Unreadable: [CertificateError::Unreadable {
            path: pem(),
            source: not_found()
        }],
        AnchorsUnreadable: [CertificateError::AnchorsUnreadable {
            path: pem(),
            source: not_found()
        }],
        Unwritable: [CertificateError::Unwritable {
            path: pem(),
            source: not_found()
        }],
        Empty: [CertificateError::Empty(text("/etc/bank/c3.pem"))],
        NotACertificate: [
            not_one(FileFormat::Empty),
            not_one(FileFormat::Pkcs7(Encoding::Pem)),
            not_one(FileFormat::Pkcs7(Encoding::Der)),
            not_one(FileFormat::Pkcs7(Encoding::Base64)),
            not_one(FileFormat::Cms),
            not_one(FileFormat::Pkcs12(Encoding::Der)),
            not_one(FileFormat::Pkcs12(Encoding::Base64)),
            not_one(FileFormat::JavaKeyStore),
            not_one(FileFormat::Certificate(Encoding::Base64)),
            not_one(FileFormat::TrustedCertificate),
            not_one(FileFormat::Request),
            not_one(FileFormat::RevocationList),
            not_one(FileFormat::PublicKey),
            not_one(FileFormat::OpenPgp),
            not_one(FileFormat::Html),
            not_one(FileFormat::Document("JSON")),
            not_one(FileFormat::OtherDer),
            not_one(FileFormat::BrokenPem),
        ],
        PrivateKeyInFile: [CertificateError::PrivateKeyInFile(text("/etc/bank/c3.pem"))],
        Malformed: [CertificateError::Malformed {
            input: text("/etc/bank/c3.pem"),
            why: text("it is cut off")
        }],
        NotOneInToken: [
            in_token(vec![]),
            in_token(vec![text("pkcs11:object=a"), text("pkcs11:object=b")])
        ],
        NotYetValid: [CertificateError::NotYetValid {
            subject: text(NAME),
            not_before: text("2090-01-01")
        }],
        Expired: [CertificateError::Expired {
            subject: text(NAME),
            not_after: text("2020-01-01")
        }],
        NotForClients: [
            unfit("extendedKeyUsage has no clientAuth"),
            unfit("it is a CA certificate")
        ],
        NotForSignatures: [CertificateError::NotForSignatures {
            subject: text(NAME),
            why: "keyUsage has no digitalSignature"
        }],
        IssuerMissing: [CertificateError::IssuerMissing {
            issuer: text("CN=Issuing"),
            anchors: roots()
        }],
        OtherGeneration: [CertificateError::OtherGeneration {
            issuer: text("CN=Issuing CA - G2"),
            held: text("CN=Issuing CA - G1"),
        }],
        NotOfEnvironment: [CertificateError::NotOfEnvironment {
            issuer: text("C=AE, CN=Other"),
            environment: environment("preprod"),
            anchors: roots(),
        }],
        AnchorsOfOther: [CertificateError::AnchorsOfOther {
            subject: text("C=AE, CN=Other"),
            environment: environment("production"),
        }],
        Chain: [CertificateError::Chain(text(
            "the Root did not sign the Issuing CA"
        ))],
        Unchecked: [
            CertificateError::Unchecked {
                subject: text(NAME),
                fault: SignatureError::Unsupported(text("Ed448 (1.3.101.113)")),
            },
            CertificateError::Unchecked {
                subject: text(NAME),
                fault: SignatureError::Weak("RSA with SHA-1"),
            },
        ],
        NotSupported: [CertificateError::NotSupported {
            subject: text(NAME),
            feature: text("the critical extension 1.2.3"),
        }],
        UnsupportedKey: [CertificateError::UnsupportedKey {
            subject: text(NAME),
            key_type: UnsupportedKey::rsa(1024),
        }],
        NoRoot: [CertificateError::NoRoot("/etc/bank/anchors.pem".into())],
        NotPinned: [CertificateError::NotPinned {
            subject: text("CN=Root"),
            fingerprint: Fingerprint([3; 32])
        }],
    })
}

pub(super) fn csr() -> Vec<Example> {
    every_variant!(CsrError {
        Subject: [
            SubjectError::Missing(text("OU")).into(),
            CsrError::Subject(SubjectError::Form {
                attribute: text("CN"),
                value: text("c3"),
                expected: text("a UUID"),
            }),
        ],
        Attribute: [CsrError::Attribute(text("GN"))],
        Encoding: [CsrError::Encoding(der::ErrorKind::Overlength.into())],
        NoAlgorithm: [CsrError::NoAlgorithm(KeyAlgorithm::EcP256)],
        Engine: [CsrError::Engine(EngineError::QueueFull(128))],
    })
}

pub(super) fn tls() -> Vec<Example> {
    let alert = |name, code| TlsError::Alert {
        name: text(name),
        code,
        phase: HandshakePhase::AfterClientCertificate,
    };
    let time = |expired| TlsError::ServerTime {
        expired,
        limit: text("2026-01-01T00:00:00Z"),
        now: text("2026-02-01T00:00:00Z"),
    };
    let closed = |ending, phase| TlsError::Closed { ending, phase };
    let foreign = |environment| TlsError::IssuerNotAccepted {
        refusal: Box::new(alert("unknown_ca", 48)),
        foreign: Box::new(ForeignIssuer {
            ours: text("CN=Ours"),
            accepted: vec![text("CN=Theirs"), text("CN=Root")],
            environment,
        }),
    };
    every_variant!(TlsError {
        Certificate: [CertificateError::Empty(text("c3.pem")).into()],
        NotAsked: [TlsError::NotAsked],
        ProxyAnchors: [TlsError::ProxyAnchors(text(
            "/etc/fp.pem: it has no certificate"
        ))],
        OtherGeneration: [TlsError::OtherGeneration {
            issuer: text("CN=Root CA - G2"),
            held: text("CN=Root CA - G1"),
        }],
        NotObserved: [TlsError::NotObserved],
        HostNotConfigured: [TlsError::HostNotConfigured {
            host: text("other"),
            configured: vec![text("cm")]
        }],
        NoCommonScheme: [TlsError::NoCommonScheme {
            offered: vec![text("RSA_PSS_SHA256")],
            ours: vec!["ecdsa_secp256r1_sha256"],
        }],
        NeedsRsaPss: [TlsError::NeedsRsaPss],
        Signature: [TlsError::Signature(Arc::new(EngineError::Deadline(
            Duration::from_secs(5)
        )))],
        ServerCertificate: [TlsError::ServerCertificate(text("it cannot be read"))],
        NotYetValid: [TlsError::NotYetValid {
            not_before: text("2026-02-01T00:00:00Z"),
            now: text("1970-01-01T00:00:07Z")
        }],
        Unsupported: [TlsError::Unsupported(text("RSA with SHA-224"))],
        ServerTime: [time(true), time(false)],
        ServerSignature: [TlsError::ServerSignature],
        Revocation: [TlsError::Revocation(text("it is revoked"))],
        ServerNotProved: [TlsError::ServerNotProved],
        ServerUntrusted: [TlsError::ServerUntrusted],
        ServerName: [TlsError::ServerName {
            expected: text("cm"),
            presented: text("cm.other.example")
        }],
        Alert: [
            TlsError::Alert {
                name: text("handshake_failure"),
                code: 40,
                phase: HandshakePhase::AfterClientHello
            },
            alert("handshake_failure", 40),
            alert("bad_certificate", 42),
            alert("certificate_revoked", 44),
            alert("certificate_expired", 45),
            alert("unsupported_certificate", 43),
            alert("certificate_unknown", 46),
            alert("illegal_parameter", 47),
            alert("unknown_ca", 48),
            alert("access_denied", 49),
            alert("decrypt_error", 51),
            alert("protocol_version", 70),
            alert("insufficient_security", 71),
            alert("internal_error", 80),
            alert("unrecognized_name", 112),
            alert("certificate_required", 116),
            alert("no_application_protocol", 120),
        ],
        IssuerNotAccepted: [foreign(Some(environment("production"))), foreign(None)],
        Closed: [
            closed(Ending::Reset, HandshakePhase::AfterClientHello),
            closed(Ending::Abrupt, HandshakePhase::DuringHandshake),
            closed(Ending::Orderly, HandshakePhase::AfterClientCertificate),
        ],
        NotTls: [TlsError::NotTls],
        Protocol: [TlsError::Protocol(text("no suite in common"))],
        Malformed: [TlsError::Malformed(text("cannot decrypt peer's message"))],
        Network: [TlsError::Network(text("no route"))],
        NoPublicRoots: [
            TlsError::NoPublicRoots(vec![]),
            TlsError::NoPublicRoots(vec![text("no such folder")])
        ],
        Anchor: [TlsError::Anchor(text("it has no subject"))],
        Crl: [TlsError::Crl {
            path: "/etc/bank/list.crl".into(),
            why: text("it holds no CRL")
        }],
        UnsupportedCrl: [TlsError::UnsupportedCrl {
            path: "/etc/bank/list.crl".into(),
            feature: "a delta list, of changes only"
        }],
        Setup: [TlsError::Setup(text("no suite"))],
    })
}
