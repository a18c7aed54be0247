//! A key and its certificate, C3's or Sig4's: how long it lasts, whether its chain is complete, whether it is revoked. The key is named
//! and not used: that key and certificate belong together is proved by `verify`, `token check` and the proxy.

use std::io::ErrorKind;

use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::revocation::{REVOKED_HINT, RevocationStatus};
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::sig4::check_kid;
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use serde_json::{Value, json};

use super::super::trust::short_name;
use super::environment::Subject;
use super::report::Found;
use super::state::{State, days_text};

/// What the other parts of the screen ask of a pair.
pub(super) struct Pair {
    pub(super) role: KeyRole,
    /// `None`: it cannot be read, or is in the token.
    pub(super) certificate: Option<Certificate>,
    /// Whether a rotation of it is under way: that, and no other, is the next step then.
    pub(super) is_in_rotation: bool,
}

impl Pair {
    /// The name of an item about this pair.
    pub(super) fn about(&self, what: &str) -> String {
        format!("{}.{what}", self.role.section())
    }
}

/// Adds the pair of the view of a role.
pub(super) fn add(found: &mut Found, subject: &Subject<'_>, view: &Config, pair: &mut Pair) {
    let key = view.c3.key.to_string();
    found.item(pair.about("key"), State::Ok, key.clone());
    let mut detail = json!({
        "role": pair.role.section(),
        "key": key,
        "certificate": null,
        "chain": null,
        "revoked": null,
        "revocation": null,
    });
    match &view.c3.certificate {
        CertificateSource::File(path) => match read_file(path) {
            Ok(certificates) => {
                add_certificates(found, subject, view, pair, &mut detail, certificates)
            }
            Err(error) => unreadable(found, pair, &error),
        },
        CertificateSource::Token(uri) => {
            in_token(found, subject, pair, &mut detail, &uri.to_string())
        }
    }
    let pairs = found.details.entry("pairs").or_insert_with(|| json!([]));
    if let Value::Array(pairs) = pairs {
        pairs.push(detail);
    }
}

fn unreadable(found: &mut Found, pair: &Pair, error: &CertificateError) {
    let kind = match error {
        CertificateError::Unreadable { source, .. } => Some(source.kind()),
        _ => None,
    };
    let state = match kind {
        Some(ErrorKind::PermissionDenied) => State::Unknown,
        _ => State::Critical,
    };
    found.item(pair.about("certificate"), state, error.to_string());
    if state == State::Critical && !pair.is_in_rotation {
        let text = format!("install the {} certificate", pair.role.name());
        found.act_now(text, Some(&pair.role.advice("hsm-mtls cert install")));
    }
}

/// A certificate that only a login would show: the running proxy has read it.
fn in_token(found: &mut Found, subject: &Subject<'_>, pair: &Pair, detail: &mut Value, uri: &str) {
    let shown = subject.proxy.report().map(|report| match pair.role {
        KeyRole::C3 => &report["certificate"],
        KeyRole::Sig4 => &report["jwt"],
    });
    let known = shown.and_then(|shown| {
        let not_after = shown["not_after"].as_str()?;
        Some((shown, not_after.to_owned(), shown["days_left"].as_i64()?))
    });
    let Some((shown, not_after, days_left)) = known else {
        let show = pair.role.advice("hsm-mtls cert show");
        let text = format!(
            "not looked at: {uri} is in the token, which is not logged in to here; `{show}` reads it, and a running proxy says how long it lasts"
        );
        found.item(pair.about("certificate"), State::Unknown, text);
        return;
    };
    detail["certificate"] = json!({
        "source": uri,
        "subject": shown["subject"],
        "not_after": not_after,
        "days_left": days_left,
        "x5t_s256": shown.get("x5t_s256").or_else(|| shown.get("kid")),
    });
    let text = format!(
        "{}, until {not_after}, as the proxy says: it is in the token",
        days_text(days_left)
    );
    dated(found, subject, pair, &not_after, days_left, text);
    let revoked = shown["revoked"].as_bool();
    detail["revoked"] = json!(revoked);
    if revoked == Some(true) {
        let why = shown["detail"].as_str().unwrap_or_default();
        is_revoked(found, pair, why);
    }
}

fn add_certificates(
    found: &mut Found,
    subject: &Subject<'_>,
    view: &Config,
    pair: &mut Pair,
    detail: &mut Value,
    certificates: Vec<Certificate>,
) {
    let Some(leaf) = certificates.first() else {
        return;
    };
    let (not_after, days_left) = (leaf.not_after(), leaf.days_left(subject.now));
    detail["certificate"] = json!({
        "source": location(&view.c3.certificate),
        "subject": leaf.subject().to_string(),
        "issuer": leaf.issuer().to_string(),
        "not_before": leaf.not_before(),
        "not_after": not_after,
        "days_left": days_left,
        "x5t_s256": leaf.x5t_s256(),
        "spki_sha256": leaf.public_key().map(|key| key.fingerprint().to_string()),
    });
    let text = format!(
        "{}, until {not_after}; CN={}",
        days_text(days_left),
        short_name(leaf)
    );
    dated(found, subject, pair, &not_after, days_left, text);
    if let Some(anchors) = subject.anchors {
        let chain = Chain::complete(&certificates, anchors, view.environment);
        let wrong = match &chain {
            Err(error) => Some((error.to_string(), error.hint())),
            Ok(chain) => of_role(subject, pair.role, chain, days_left),
        };
        detail["chain"] = match &chain {
            Ok(chain) => chain_detail(chain, anchors),
            Err(error) => json!({ "complete": false, "detail": error.to_string() }),
        };
        match (wrong, &chain) {
            (Some((text, hint)), _) => {
                found.item(pair.about("chain"), State::Critical, text);
                found.act_now(pair.role.advice(&hint), None);
            }
            (None, Ok(chain)) => {
                found.item(pair.about("chain"), State::Ok, chain_text(chain, anchors));
            }
            (None, Err(_)) => {}
        }
        add_revocation(found, subject, pair, detail);
    }
    if pair.role == KeyRole::Sig4
        && let Err(error) = check_kid(subject.config, &leaf.x5t_s256())
    {
        found.item(pair.about("kid"), State::Critical, error.to_string());
        found.act_now(error.hint(), None);
    }
    pair.certificate = Some(leaf.clone());
}

/// What keeps the certificate from its role now, beside its end.
fn of_role(
    subject: &Subject<'_>,
    role: KeyRole,
    chain: &Chain,
    days_left: i64,
) -> Option<(String, String)> {
    let error = chain.check_role(role, subject.now).err();
    let error = error.filter(|_| days_left >= 0)?;
    Some((error.to_string(), error.hint()))
}

fn dated(
    found: &mut Found,
    subject: &Subject<'_>,
    pair: &Pair,
    not_after: &str,
    days_left: i64,
    text: String,
) {
    let state = subject.thresholds.judge(days_left);
    found.dated(&pair.about("certificate"), state, text, days_left);
    // A rotation that is under way has its own next step.
    if !pair.is_in_rotation {
        let text = format!("rotate {}", pair.role.name());
        let start = pair.role.advice("hsm-mtls rotate start");
        found.act_by(not_after, days_left, text, Some(&start));
    }
}

/// The CAs above the leaf, up to the root.
fn issuers<'a>(chain: &'a Chain, anchors: &'a Anchors) -> impl Iterator<Item = &'a Certificate> {
    let last = chain.certificates().last();
    let mut roots = anchors.roots().iter();
    let root = roots.find(|root| last.is_some_and(|last| last.is_issued_by(root)));
    chain.certificates().skip(1).chain(root)
}

fn chain_text(chain: &Chain, anchors: &Anchors) -> String {
    let names: Vec<_> = issuers(chain, anchors).map(short_name).collect();
    format!("complete: {}", names.join(" < "))
}

fn chain_detail(chain: &Chain, anchors: &Anchors) -> Value {
    let issuers: Vec<_> = issuers(chain, anchors).collect();
    json!({
        "complete": true,
        "generation": issuers.first().and_then(|ca| ca.generation()),
        "certificates": issuers.iter().map(|ca| json!({
            "name": short_name(ca),
            "fingerprint": ca.fingerprint().to_string(),
        })).collect::<Vec<_>>(),
    })
}

/// The fingerprints of the CAs above a leaf.
pub(super) fn issuers_of(pair: &Pair, subject: &Subject<'_>) -> Vec<String> {
    let (Some(leaf), Some(anchors)) = (&pair.certificate, subject.anchors) else {
        return Vec::new();
    };
    let certificates = [leaf.clone()];
    let chain = Chain::complete(&certificates, anchors, subject.config.environment);
    let fingerprints = chain.map(|chain| {
        let issuers = issuers(&chain, anchors);
        issuers.map(|ca| ca.fingerprint().to_string()).collect()
    });
    fingerprints.unwrap_or_default()
}

fn add_revocation(found: &mut Found, subject: &Subject<'_>, pair: &Pair, detail: &mut Value) {
    let own = subject.inventory.and_then(|inventory| {
        let mut own = inventory.own.iter();
        own.find(|own| own.role == pair.role)
    });
    let Some(status) = own.map(|own| &own.status) else {
        return;
    };
    detail["revoked"] = json!(status.is_revoked());
    detail["revocation"] = status.detail().into();
    let about = pair.about("revoked");
    match status {
        RevocationStatus::Revoked { .. } => is_revoked(found, pair, &status.detail()),
        RevocationStatus::NotListed(lists) => {
            let files = lists.iter().map(|clean| clean.list.display().to_string());
            let files = files.collect::<Vec<_>>().join(", ");
            found.item(about, State::Ok, format!("no: it is not on {files}"));
        }
        // Without lists nobody expects an answer; the line about the lists says so.
        RevocationStatus::Unknown(why) if why.is_empty() => {}
        RevocationStatus::Unknown(_) => found.item(about, State::Unknown, status.detail()),
    }
}

fn is_revoked(found: &mut Found, pair: &Pair, why: &str) {
    found.item(
        pair.about("revoked"),
        State::Critical,
        format!("YES: {why}"),
    );
    let make = pair.role.advice("hsm-mtls key generate");
    found.act_now(pair.role.advice(REVOKED_HINT), Some(&make));
}

fn location(certificate: &CertificateSource) -> String {
    match certificate {
        CertificateSource::File(path) => path.display().to_string(),
        CertificateSource::Token(uri) => uri.to_string(),
    }
}
