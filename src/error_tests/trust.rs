//! Examples of the errors of fetched CRLs and CA certificates.

use std::time::Duration;

use super::*;
use crate::certificate::SignatureError;
use crate::certificate::crl_successor::NotACrl;
use crate::certificate::new_anchors::Unaccepted;
use crate::client::forward_proxy::ForwardProxyFailure;
use crate::config::trust::Fingerprint;

const CA: &str = "CN=Issuing CA - G1";

fn url() -> String {
    text("http://crl.example/issuer.crl")
}

pub(super) fn download() -> Vec<Example> {
    let tls = |error| DownloadError::Tls {
        url: url(),
        error: Box::new(error),
    };
    let status = |status| DownloadError::Status { url: url(), status };
    every_variant!(DownloadError {
        Url: [DownloadError::Url],
        ForwardProxy: [DownloadError::ForwardProxy {
            url: url(),
            error: Box::new(client::in_the_way(ForwardProxyFailure::Unreachable(text(
                "192.0.2.1:3128: refused"
            ))))
        }],
        Unreachable: [DownloadError::Unreachable {
            url: url(),
            why: text("192.0.2.1:80: refused"),
        }],
        Deadline: [DownloadError::Deadline {
            url: url(),
            stage: Stage::Response,
            after: Duration::from_secs(120),
        }],
        Tls: [
            tls(TlsError::ServerUntrusted),
            tls(TlsError::NoPublicRoots(Vec::new()))
        ],
        Http: [DownloadError::Http {
            url: url(),
            why: text("the server closed the connection"),
        }],
        Redirect: [DownloadError::Redirect {
            url: url(),
            status: 302,
            location: text("https://elsewhere.example/"),
        }],
        Status: [status(404), status(503)],
        TooLong: [DownloadError::TooLong {
            url: url(),
            limit: 64 << 20,
        }],
    })
}

pub(super) fn crl() -> Vec<Example> {
    let signature = |fault| CrlError::Signature {
        issuer: text(CA),
        fault,
    };
    every_variant!(CrlError {
        NotACrl: [
            CrlError::NotACrl(NotACrl::Empty),
            CrlError::NotACrl(NotACrl::Html),
            CrlError::NotACrl(NotACrl::Json),
            CrlError::NotACrl(NotACrl::Truncated(1000)),
            CrlError::NotACrl(NotACrl::TruncatedPem),
            CrlError::NotACrl(NotACrl::Other(text("it holds no CRL"))),
        ],
        Several: [CrlError::Several(2)],
        SeveralHeld: [CrlError::SeveralHeld(2)],
        OtherIssuer: [CrlError::OtherIssuer {
            issuer: text("CN=Another CA"),
            anchors: vec![text(CA)],
        }],
        Signature: [
            signature(SignatureError::Mismatch),
            signature(SignatureError::Weak("RSA with SHA-1"))
        ],
        UnprovedIssuer: [CrlError::UnprovedIssuer(text(CA))],
        IssuerMayNot: [CrlError::IssuerMayNot(text(CA))],
        Delta: [CrlError::Delta],
        OtherScope: [CrlError::OtherScope(text(CA))],
        NoNextUpdate: [CrlError::NoNextUpdate],
        NotYetValid: [CrlError::NotYetValid {
            this_update: text("2090-01-01T00:00:00Z"),
            now: text("2026-11-30T00:00:00Z"),
        }],
        Outdated: [CrlError::Outdated {
            next_update: text("2020-01-01T00:00:00Z"),
            now: text("2026-11-30T00:00:00Z"),
        }],
        OtherThanHeld: [CrlError::OtherThanHeld {
            fetched: text("CN=Root CA - G1"),
            held: text(CA),
        }],
        Older: [CrlError::Older {
            fetched: text("2026-11-29T00:00:00Z"),
            held: text("2026-11-30T00:00:00Z"),
        }],
    })
}

pub(super) fn anchor() -> Vec<Example> {
    let (subject, fingerprint) = (text("CN=Root CA - G2"), Fingerprint([7; 32]));
    let unaccepted = Unaccepted {
        subject: subject.clone(),
        fingerprint,
    };
    every_variant!(AnchorError {
        NoUrl: [AnchorError::NoUrl("plain")],
        NotACa: [AnchorError::NotACa(text("CN=leaf"))],
        OfOtherEnvironment: [AnchorError::OfOtherEnvironment {
            subject: subject.clone(),
            environment: environment("preprod"),
        }],
        OutOfTime: [AnchorError::OutOfTime {
            subject: subject.clone(),
            not_before: text("2010-01-01T00:00:00Z"),
            not_after: text("2020-01-01T00:00:00Z"),
        }],
        NoRoot: [AnchorError::NoRoot {
            subject: text(CA),
            issuer: subject.clone(),
        }],
        Signature: [AnchorError::Signature {
            subject: text(CA),
            issuer: subject.clone(),
            fault: SignatureError::Mismatch,
        }],
        NotPinned: [AnchorError::NotPinned {
            subject,
            fingerprint,
        }],
        NotAccepted: [AnchorError::NotAccepted(vec![unaccepted])],
    })
}
