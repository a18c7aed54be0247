//! `request`: one call to the hub, curl-like.

use std::fs;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hsm_mtls::client::{Answer, Client, ClientError};
use hsm_mtls::config::Config;
use hsm_mtls::error::ExitCode;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::{CommandError, Global, RequestArgs, output, start};

pub(super) fn request(global: &Global, args: RequestArgs) -> Result<ExitCode, CommandError> {
    let config = start::config_for_module(global)?;
    let url = url(&config, &args.url)?;
    let body = match &args.data {
        Some(data) => body(data)?,
        None => Bytes::new(),
    };
    let headers = headers(&args.headers, &body)?;
    let client = Client::open(&config, start::attendance()).map_err(CommandError::Stage)?;
    let answer = start::runtime()?
        .block_on(client.request(args.method, &url, headers, body))
        .map_err(CommandError::stage)?;
    let code = if answer.status.as_u16() >= 400 {
        ExitCode::Finding
    } else {
        ExitCode::Good
    };
    if global.json {
        output::json(&as_json(&answer))?;
        return Ok(code);
    }
    if args.include {
        output::line(&format!("HTTP/1.1 {}", answer.status))?;
        for (name, value) in &answer.headers {
            output::line(&format!(
                "{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            ))?;
        }
        output::line("")?;
    }
    match args.output {
        Some(path) => output::file(&path, &answer.body)?,
        None => output::raw(&answer.body)?,
    }
    Ok(code)
}

fn url(config: &Config, text: &str) -> Result<Url, CommandError> {
    let whole = match text.split_once(":/") {
        Some(("cm", path)) => format!("{}/{path}", config.hub.consent_manager),
        Some(("hh", path)) => format!("{}/{path}", config.hub.headless_heimdall),
        _ => text.to_owned(),
    };
    Url::parse(&whole).map_err(|error| {
        CommandError::stage(ClientError::Request(format!(
            "{text} is not a URL ({error})"
        )))
    })
}

fn body(data: &str) -> Result<Bytes, CommandError> {
    let unreadable = |error: std::io::Error| {
        CommandError::usage(
            format!("the body cannot be read from {data}: {error}"),
            "after @ stands a file that this user can read, or - for standard input",
        )
    };
    match data.strip_prefix('@') {
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(unreadable)?;
            Ok(bytes.into())
        }
        Some(path) => Ok(fs::read(path).map_err(unreadable)?.into()),
        None => Ok(data.to_owned().into()),
    }
}

fn headers(given: &[String], body: &Bytes) -> Result<HeaderMap, CommandError> {
    let mut headers = HeaderMap::new();
    for header in given {
        let wrong = || {
            CommandError::usage(
                format!("{header:?} is not a header"),
                "write -H 'Name: value'",
            )
        };
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        headers.append(name, value);
    }
    if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
        // The Consent Manager takes JSON, Headless Heimdall forms.
        let json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        let kind = if json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    Ok(headers)
}

fn as_json(answer: &Answer) -> Value {
    let headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let (body, base64) = match str::from_utf8(&answer.body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(&answer.body))),
    };
    json!({
        "schema": 0,
        "status": answer.status.as_u16(),
        "headers": headers,
        "body": body,
        "body_base64": base64,
        "interaction_id": answer.interaction_id,
    })
}
