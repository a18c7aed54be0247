//! The steps that check what was observed of a TLS handshake, even a failed one: the server's certificate and host name,
//! its request for a client certificate, and the signature.

use serde::Serialize;

use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::handshake::server_name;
use hsm_mtls::internal::config::origin::Origin;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::tls::handshake_observer::Observation;
use hsm_mtls::internal::tls::issuers::IssuerMatch;
use hsm_mtls::internal::tls::{Tls, TlsError};

/// The step about the client's signature.
pub(super) const SIGNATURE_STEP: &str = "signature";

/// The server's certificate, for report and evidence.
#[derive(Debug, Serialize)]
pub struct ServerCertificate {
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// RFC 3339
    pub not_after: String,
    /// SHA-256 of its DER.
    pub fingerprint: String,
}

impl ServerCertificate {
    pub(super) fn of(observed: &Observation) -> Option<Self> {
        let leaf = leaf(observed)?;
        Some(Self {
            subject: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
            not_after: leaf.not_after(),
            fingerprint: leaf.fingerprint().to_string(),
        })
    }
}

fn leaf(observed: &Observation) -> Option<Certificate> {
    let der = observed.server_chain.first()?;
    Certificate::from_der(der, "the server").ok()
}

/// Checks host name and certificate of the server. Reports which trust the chain satisfies, whichever is configured,
/// because it is not documented beyond doubt which CA issues the hub's certificates.
pub(super) fn check_server_certificate(
    steps: &mut Steps,
    tls: &Tls,
    origin: &Origin,
    observed: &Observation,
) {
    let Ok(name) = server_name(origin) else {
        return;
    };
    let Some(evaluation) = tls.trust().evaluate(&observed.server_chain, &name) else {
        return;
    };
    let mode = tls.trust().mode();
    let trust = match (&evaluation.trust_framework, &evaluation.public) {
        (Ok(()), Ok(())) => "satisfies the Trust Framework and public trust".to_owned(),
        (Ok(()), Err(_)) => "satisfies the Trust Framework, not public trust".to_owned(),
        (Err(_), Ok(())) => "satisfies public trust, not the Trust Framework".to_owned(),
        (Err(framework), Err(public)) if framework.to_string() == public.to_string() => {
            format!("satisfies neither the Trust Framework nor public trust: {framework}")
        }
        (Err(framework), Err(public)) => {
            format!(
                "satisfies neither the Trust Framework ({framework}) nor public trust ({public})"
            )
        }
    };
    let issuer = leaf(observed).map(|leaf| leaf.issuer());
    let other_environment = issuer
        .as_ref()
        .and_then(|issuer| tls.other_environment(issuer));
    let issued = issuer.map_or_else(String::new, |issuer| format!("; issued by {issuer}"));
    let detail = format!("{trust}{issued}");
    let trusted = (mode.takes_trust_framework() && evaluation.trust_framework.is_ok())
        || (mode.takes_public() && evaluation.public.is_ok());
    if trusted {
        steps.seen("server certificate", Outcome::Good, detail);
    } else {
        let hint = match (&evaluation.trust_framework, &evaluation.public) {
            (Ok(()), _) => {
                "if the hub's operator confirms it, set `mode = \"trust-framework\"` in [trust]"
                    .to_owned()
            }
            (_, Ok(())) => {
                "if the hub's operator confirms it, set `mode = \"public\"` in [trust]".to_owned()
            }
            (Err(TlsError::ServerUntrusted), _) if other_environment.is_some() => {
                "this host is of the other environment's Trust Framework: check [hub], and that `environment` and `anchors` belong together".to_owned()
            }
            (Err(TlsError::ServerUntrusted), _) => {
                "check `anchors` of [trust]; a proxy that inspects TLS presents a certificate of its own too".to_owned()
            }
            (Err(error), _) => error.hint(),
        };
        steps.fault("server certificate", detail, hint, ExitCode::Network);
    }
    match evaluation.host_name {
        Ok(()) => steps.seen("host name", Outcome::Good, origin.host.clone()),
        Err(error) => steps.fault(
            "host name",
            error.to_string(),
            "check [hub] and `lfi_code`: the name is what tells the hub from other participants",
            ExitCode::Network,
        ),
    }
}

/// Reports whether the server requested a client certificate, which issuers it accepts, and how long the signature took.
pub(super) fn check_client_certificate(steps: &mut Steps, tls: &Tls, observed: &Observation) {
    const NAME: &str = "client certificate asked for";
    match observed
        .certificate_request
        .as_ref()
        .map(|request| tls.match_issuers(request))
    {
        Some(IssuerMatch::Unspecified) => steps.seen(
            NAME,
            Outcome::Good,
            "asked for; the server names no issuers",
        ),
        Some(IssuerMatch::Accepted {
            issuer,
            same_encoding,
        }) => {
            let encoding_note = match same_encoding {
                true => "",
                false => ", in another encoding than our certificate has: the same name",
            };
            let detail =
                format!("asked for; {issuer} is among the issuers that it accepts{encoding_note}");
            steps.seen(NAME, Outcome::Good, detail);
        }
        Some(IssuerMatch::Foreign(foreign)) => {
            let detail = format!("asked for by a server that does not know our issuer: {foreign}");
            steps.note(NAME, detail, foreign.hint());
        }
        None if !observed.server_chain.is_empty() => {
            steps.seen(NAME, Outcome::Note, "the server did not ask");
        }
        None => {}
    }
    if let Some(signature) = observed.signature {
        let millis = signature.elapsed.as_micros() as f64 / 1000.0;
        let detail = format!(
            "{} in {millis:.1} ms, verified before use",
            signature.scheme
        );
        steps.seen(SIGNATURE_STEP, Outcome::Good, detail);
    }
}
