//! `request`: one call to the hub, curl-like.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::check_steps::plain;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use hsm_mtls::internal::client::{Client, ClientError, HubResponse, INTERACTION_ID};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use url::Url;

use super::output_file::{OutputFile, USUAL, Wanted, secret_of};
use super::{CommandError, Global, output, setup, signer};

#[derive(Args)]
pub(super) struct RequestArgs {
    /// GET, POST, PATCH ...
    method: Method,
    /// An https URL of a configured host, or cm:/path or hh:/path
    url: String,
    /// A header, NAME: VALUE
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A body; @FILE reads it from a file, @- from standard input. Without a Content-Type header, one that
    /// begins with { or [ is sent as application/json, any other as a form
    #[arg(short, long, value_name = "DATA")]
    data: Option<String>,
    /// Write the answer's body here instead of to standard output (-)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print status and headers too
    #[arg(short, long)]
    include: bool,
    /// Replace a file that is there; what the configuration names is never written over
    #[arg(long, requires = "output")]
    force: bool,
}

pub(super) fn request(global: &Global, args: RequestArgs) -> Result<ExitCode, CommandError> {
    let config = setup::config(global)?;
    let url = url(&config, &args.url)?;
    let body = match &args.data {
        Some(data) => {
            refuse_secret(&config, data)?;
            body(data)?
        }
        None => Bytes::new(),
    };
    let headers = headers(&args.headers, &body)?;
    if global.json && args.output.is_some() {
        return Err(CommandError::usage(
            "--json and --output both say where the answer goes",
            "leave out one of them: the JSON holds the body",
        ));
    }
    // Before anything is sent: a POST whose answer cannot be kept is not to be repeated.
    let wanted = args.output.as_deref().map(|path| Wanted {
        what: "the answer",
        path,
        force: args.force,
        mode: USUAL,
    });
    let file = wanted.map(|wanted| OutputFile::claim(&wanted, &[&config]));
    let file = file.transpose()?;
    let identity = signer::identity(global, &config).map_err(CommandError::stage)?;
    let client = Client::of(&config, &identity).map_err(CommandError::stage)?;
    let answer = setup::runtime()?
        .block_on(client.request(method(args.method), &url, headers, body))
        .map_err(CommandError::stage)?;
    let refused = answer
        .error_response()
        .filter(|_| answer.status.as_u16() >= 400);
    if global.json {
        output::json(&as_json(&answer))?;
    } else {
        print(&answer, args.include, file)?;
        if let Some(refusal) = &refused {
            let (status, id) = (answer.status, &answer.interaction_id);
            output::remark(&format!(
                "the hub answered {status} ({INTERACTION_ID} {id}): {}",
                refusal.hint
            ));
        } else if let Some(to) = answer.headers.get(LOCATION).filter(|_| !args.include) {
            let to: String = String::from_utf8_lossy(to.as_bytes())
                .chars()
                .map(plain)
                .collect();
            output::remark(&format!("the hub answered {}, to {to}", answer.status));
        }
    }
    Ok(match refused {
        Some(_) => ExitCode::Finding,
        None => ExitCode::Good,
    })
}

fn print(
    answer: &HubResponse,
    include: bool,
    file: Option<OutputFile>,
) -> Result<(), CommandError> {
    if include {
        output::whole(&format!("HTTP/1.1 {}", answer.status))?;
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value: String = value.chars().map(plain).collect();
            output::whole(&format!("{name}: {value}"))?;
        }
        output::whole("")?;
    }
    let Some(file) = file else {
        return output::raw(&answer.body);
    };
    file.keep(&answer.body).map_err(|error| {
        let (status, id) = (answer.status, &answer.interaction_id);
        CommandError::usage(
            format!("the hub answered {status}, but {error}"),
            format!(
                "the request was made ({INTERACTION_ID} {id}): look at the hub before you repeat it"
            ),
        )
    })
}

/// Methods are case-sensitive (RFC 9110, section 9.1); `get` is a slip of the operator's.
fn method(given: Method) -> Method {
    let known = [
        Method::GET,
        Method::POST,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    let meant = known
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(given.as_str()));
    meant.unwrap_or(given)
}

fn url(config: &Config, text: &str) -> Result<Url, CommandError> {
    // A scheme has no case (RFC 3986, section 3.1).
    let (scheme, path) = text.split_once(":/").unwrap_or_default();
    let whole = match (scheme.to_ascii_lowercase().as_str(), path) {
        ("cm", path) => format!("{}/{path}", config.hub.consent_manager),
        ("hh", path) => format!("{}/{path}", config.hub.headless_heimdall),
        _ => text.to_owned(),
    };
    Url::parse(&whole).map_err(|error| {
        CommandError::stage(ClientError::Request(format!(
            "{text} is not a URL ({error}); a path of a configured host is written cm:/path or hh:/path"
        )))
    })
}

/// A body is never read from a file that holds a secret of the configuration, by whatever name.
fn refuse_secret(config: &Config, data: &str) -> Result<(), CommandError> {
    let path = match data.strip_prefix('@') {
        None => return Ok(()),
        Some("-") => "/dev/stdin",
        Some(path) => path,
    };
    match secret_of(config, Path::new(path)) {
        None => Ok(()),
        Some(role) => Err(CommandError::usage(
            format!("{data} is not sent: it is {role}"),
            "name the file that holds the body; nothing was sent",
        )),
    }
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
            // The rest may be a secret.
            let message = match name_of(header) {
                Some(name) => format!("what -H gives for {name:?} is not a header"),
                None => "what -H gives is not a header".to_owned(),
            };
            CommandError::usage(
                format!("{message} (its value is not shown: it may be a secret)"),
                "write -H 'Name: value', the value in ASCII",
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

/// The name that a faulty header begins with, where it has one and something follows.
fn name_of(header: &str) -> Option<&str> {
    let (name, value) = header.split_once(['=', ':', ' ', '\t'])?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let follows = !value.trim_matches(['=', ':', ' ', '\t']).is_empty();
    (follows && !name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn as_json(answer: &HubResponse) -> Value {
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
