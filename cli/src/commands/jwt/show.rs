//! `jwt show`: header and claims of a token for people. Nothing is verified, and the signature is not shown.

use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::jwks::token_verification::DecodedToken;
use hsm_mtls::internal::rfc3339;
use serde_json::{Map, Value, json};

use super::super::{CommandError, Global, output};
use super::{ShowArgs, token_input};
use crate::check_steps::plain;

/// The claims that are times.
const TIMES: [&str; 3] = ["iat", "exp", "nbf"];

pub(super) fn show(global: &Global, args: &ShowArgs) -> Result<ExitCode, CommandError> {
    let text = token_input::read_token(&args.file)?;
    let token = DecodedToken::parse(&text)
        .map_err(|error| token_input::malformed(&format!("this is no token: {error}")))?;
    let now = rfc3339::unix_now();
    let left = token.claims.get("exp").and_then(Value::as_u64);
    let left = left.map(|end| i128::from(end) - i128::from(now));
    if global.json {
        output::json(&json!({
            "schema": 0,
            "header": token.header,
            "claims": token.claims,
            "verified": false,
            "seconds_left": left.and_then(|left| i64::try_from(left).ok()),
        }))?;
        return Ok(ExitCode::Good);
    }
    output::heading("header")?;
    print(&token.header, |_, value| words(value))?;
    output::heading("claims")?;
    print(&token.claims, |name, value| match value.as_u64() {
        Some(seconds) if TIMES.contains(&name) => {
            format!("{seconds} ({})", rfc3339::of_unix(seconds))
        }
        _ => words(value),
    })?;
    let validity = match left {
        None => "it has no end (exp)".to_owned(),
        Some(left) if left > 0 => format!("{left} s are left"),
        Some(left) => format!("it ended {} s ago", -left),
    };
    output::line(&validity)?;
    output::remark("nothing was verified: `hsm-mtls jwt verify` says what a hub would");
    Ok(ExitCode::Good)
}

fn print(
    members: &Map<String, Value>,
    value: impl Fn(&str, &Value) -> String,
) -> Result<(), CommandError> {
    let names: Vec<String> = members.keys().map(|name| printable(name)).collect();
    let values = members.iter().map(|(name, found)| value(name, found));
    let rows: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
    output::fields(&rows)
}

/// A value of somebody else's, which must not control the terminal.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

fn printable(text: &str) -> String {
    text.chars().map(plain).collect()
}
