//! `jwt verify`: what a hub would say of a token, check by check, against the published key set and the configuration.

use std::time::Duration;

use der::DateTime;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{self, IdentityError};
use hsm_mtls::internal::jwks::JwkSet;
use hsm_mtls::internal::jwks::token_verification::{self, Check, SKEW};
use hsm_mtls::internal::jwt_claims::ClaimSet;
use hsm_mtls::internal::rfc3339;
use serde_json::json;

use super::super::jwks::Source;
use super::super::sig4_certificates::{self, Needed, Sig4Certificates};
use super::super::{CommandError, Global, output};
use super::{VerifyArgs, token_input};
use crate::check_steps::{Outcome, Steps};

/// Parses `--at`: RFC 3339 in UTC, or seconds after the Unix epoch.
pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    let date = || {
        let time: DateTime = text.parse().ok()?;
        let since: Duration = time.unix_duration();
        Some(since.as_secs())
    };
    text.parse().ok().or_else(date).ok_or_else(|| {
        "write a time in UTC as 2026-11-24T14:45:11Z, or in seconds after 1970".to_owned()
    })
}

fn name(check: Check) -> &'static str {
    match check {
        Check::Form => "form",
        Check::Header => "header",
        Check::Kid => "kid",
        Check::Signature => "signature",
        Check::Issuer => "iss",
        Check::Subject => "sub",
        Check::Audience => "aud",
        Check::Times => "iat, nbf, exp",
        Check::Lifetime => "lifetime",
        Check::Id => "jti",
    }
}

pub(super) fn verify(global: &Global, args: VerifyArgs) -> Result<ExitCode, CommandError> {
    sig4_certificates::run(global, Needed::Both, |certificates| {
        let token = token_input::read_token(&args.file)?;
        judge(global, &certificates, args, &token)
    })
}

/// What a hub would say of a token now, as further steps.
pub(in crate::commands) fn judge_token(
    token: &str,
    set: &JwkSet,
    expected: &ClaimSet,
    steps: &mut Steps,
) {
    add_checks(token, set, expected, rfc3339::unix_now(), steps);
}

fn add_checks(token: &str, set: &JwkSet, expected: &ClaimSet, at: u64, steps: &mut Steps) {
    for (check, outcome) in token_verification::verify(token, set, expected, at) {
        let name = name(check);
        match outcome {
            Some(Ok(seen)) => steps.seen(name, Outcome::Good, seen),
            Some(Err(wrong)) => steps.fault(name, wrong, check.hint(), ExitCode::Finding),
            None => steps.seen(name, Outcome::NotReached, ""),
        }
    }
}

fn judge(
    global: &Global,
    certificates: &Sig4Certificates,
    args: VerifyArgs,
    token: &str,
) -> Result<ExitCode, CommandError> {
    let Sig4Certificates { config, c3, sig4 } = certificates;
    let c3 = c3.as_ref().unwrap_or(sig4);
    let expected = identity::claim_set(config, c3, sig4)
        .map_err(|error| CommandError::stage(IdentityError::from(error)))?;
    let source = match args.jwks {
        Some(source) => source,
        None => Source::of_certificate(config, sig4)?,
    };
    let set = JwkSet::parse(&source.load(config)?.body).map_err(CommandError::stage)?;
    let at = args.at.unwrap_or_else(rfc3339::unix_now);
    let mut steps = Steps::default();
    add_checks(token, &set, &expected, at, &mut steps);
    let accepted = steps.exit_code() == ExitCode::Good;
    if global.json {
        output::json(&json!({
            "schema": 0,
            "accepted": accepted,
            "jwks": source.describe(),
            "at": rfc3339::of_unix(at),
            "skew_seconds": SKEW,
            "steps": steps,
        }))?;
    } else {
        output::heading(&format!("by the keys in {}", source.describe()))?;
        output::steps(steps.list())?;
        let text = match accepted {
            true => "a hub accepts it, if it has not seen its jti before",
            false => "a hub does NOT accept it",
        };
        output::verdict(accepted, text)?;
    }
    Ok(steps.exit_code())
}
