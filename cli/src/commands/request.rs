//! `request`: one HTTP request to the hub, with options like curl's.

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
use hsm_mtls::internal::jwt::Minter;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use url::Url;

use super::output_file::{DEFAULT_MODE, OutputFile, OutputOption, secret_role};
use super::{CommandError, Global, output, setup, signer};

#[derive(Args)]
pub(super) struct RequestArgs {
    /// GET, POST, PATCH ...
    method: Method,
    /// An https URL of a configured host, or SERVICE:/path
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
    /// Send a token of JWT Auth, which the key of [sig4] signs
    #[arg(long)]
    jwt: bool,
}

pub(super) fn request(global: &Global, args: RequestArgs) -> Result<ExitCode, CommandError> {
    let config = setup::whole_config(global)?;
    let url = url(&config, &args.url)?;
    let body = match &args.data {
        Some(data) => {
            refuse_secret(&config, data)?;
            body(data)?
        }
        None => Bytes::new(),
    };
    let mut headers = headers(&args.headers, &body)?;
    if args.jwt {
        check_jwt(&config, &headers)?;
    }
    if global.json && args.output.is_some() {
        return Err(CommandError::usage(
            "--json and --output both say where the answer goes",
            "leave out one of them: the JSON holds the body",
        ));
    }
    // The file is checked before anything is sent: a POST whose response is lost must not be repeated.
    let option = OutputOption {
        content: "the answer",
        path: args.output.as_deref(),
        force: args.force,
        mode: DEFAULT_MODE,
        json: global.json,
    };
    let file = OutputFile::claim(&option, &[&config])?;
    // Without a token, the second key need not be there.
    let config = if args.jwt {
        config
    } else {
        config.without_sig4()
    };
    let opened = signer::identity_of_any_token(global, config)?;
    let (config, identity) = opened;
    if let Some(minter) = Minter::new(&config, &identity).filter(|_| args.jwt) {
        let token = minter.mint().map_err(CommandError::stage)?;
        headers.insert(AUTHORIZATION, token.authorization());
    }
    let client = Client::of(&config, &identity).map_err(CommandError::stage)?;
    let response = setup::runtime()?
        .block_on(client.request(method(args.method), &url, headers, body))
        .map_err(CommandError::stage)?;
    let error_response = response
        .error_response()
        .filter(|_| response.status.as_u16() >= 400);
    if global.json {
        output::json(&as_json(&response))?;
    } else {
        print(&response, args.include, file)?;
        if let Some(error_response) = &error_response {
            let (status, id) = (response.status, &response.interaction_id);
            output::remark(&format!(
                "the hub answered {status} ({INTERACTION_ID} {id}): {}",
                error_response.hint
            ));
        } else if let Some(location) = response.headers.get(LOCATION).filter(|_| !args.include) {
            let location: String = String::from_utf8_lossy(location.as_bytes())
                .chars()
                .map(plain)
                .collect();
            output::remark(&format!(
                "the hub answered {}, to {location}",
                response.status
            ));
        }
    }
    Ok(match error_response {
        Some(_) => ExitCode::Finding,
        None => ExitCode::Good,
    })
}

/// Checks before anything is signed that a token can be sent.
fn check_jwt(config: &Config, headers: &HeaderMap) -> Result<(), CommandError> {
    if config.sig4.is_none() {
        return Err(CommandError::usage(
            "--jwt takes a key that signs tokens, and the configuration has no [sig4]",
            "add [sig4] with key, certificate and audience: docs/jwt.md",
        ));
    }
    match headers.contains_key(AUTHORIZATION) {
        true => Err(CommandError::usage(
            "--jwt and -H both say what Authorization is",
            "leave out one of them",
        )),
        false => Ok(()),
    }
}

/// Prints the response, or writes its body to the file.
fn print(
    response: &HubResponse,
    include: bool,
    file: Option<OutputFile>,
) -> Result<(), CommandError> {
    if include {
        output::unwrapped(&format!("HTTP/1.1 {}", response.status))?;
        for (name, value) in &response.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value: String = value.chars().map(plain).collect();
            output::unwrapped(&format!("{name}: {value}"))?;
        }
        output::unwrapped("")?;
    }
    let Some(file) = file else {
        return output::raw(&response.body);
    };
    file.write(&response.body).map_err(|error| {
        let (status, id) = (response.status, &response.interaction_id);
        CommandError::usage(
            format!("the hub answered {status}, but {error}"),
            format!(
                "the request was made ({INTERACTION_ID} {id}): look at the hub before you repeat it"
            ),
        )
    })
}

/// The method, with standard methods in upper case: methods are case-sensitive (RFC 9110, section 9.1), and `get` is a
/// typing error.
fn method(typed: Method) -> Method {
    let known = [
        Method::GET,
        Method::POST,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    let standard = known
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(typed.as_str()));
    standard.unwrap_or(typed)
}

/// The URL, with the name of a service and a colon replaced by its origin.
fn url(config: &Config, text: &str) -> Result<Url, CommandError> {
    // Schemes are case-insensitive (RFC 3986, section 3.1).
    let (scheme, path) = text.split_once(":/").unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let absolute = match config.hub.named(&scheme) {
        Some(service) => format!("{}/{path}", service.origin),
        None if ["", "https", "http"].contains(&scheme.as_str()) => text.to_owned(),
        None => {
            return Err(CommandError::stage(ClientError::Request(format!(
                "there is no service {scheme}; a path of a configured one is written {}",
                services(config)
            ))));
        }
    };
    Url::parse(&absolute).map_err(|error| {
        CommandError::stage(ClientError::Request(format!(
            "{text} is not a URL ({error}); a path of a configured service is written {}",
            services(config)
        )))
    })
}

/// How a path of each service is written.
fn services(config: &Config) -> String {
    let services = config.hub.services.iter();
    let written = services.map(|service| format!("{}:/path", service.service.label()));
    written.collect::<Vec<_>>().join(" or ")
}

/// Refuses to read the body from a secret file of the configuration. A link or another spelling of its path counts too.
fn refuse_secret(config: &Config, data: &str) -> Result<(), CommandError> {
    let path = match data.strip_prefix('@') {
        None => return Ok(()),
        Some("-") => "/dev/stdin",
        Some(path) => path,
    };
    match secret_role(config, Path::new(path)) {
        None => Ok(()),
        Some(role) => Err(CommandError::usage(
            format!("{data} is not sent: it is {role}"),
            "name the file that holds the body; nothing was sent",
        )),
    }
}

/// The body: the data itself, or what the file after @ holds.
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

/// Parses the headers, and adds a Content-Type where there is a body and none was given.
fn headers(typed: &[String], body: &Bytes) -> Result<HeaderMap, CommandError> {
    let mut headers = HeaderMap::new();
    for header in typed {
        let malformed = || {
            // Only the name is printed: the value may be a secret.
            let message = match malformed_name(header) {
                Some(name) => format!("what -H gives for {name:?} is not a header"),
                None => "what -H gives is not a header".to_owned(),
            };
            CommandError::usage(
                format!("{message} (its value is not shown: it may be a secret)"),
                "write -H 'Name: value', the value in ASCII",
            )
        };
        let (name, value) = header.split_once(':').ok_or_else(malformed)?;
        let name: HeaderName = name.trim().parse().map_err(|_| malformed())?;
        let value: HeaderValue = value.trim().parse().map_err(|_| malformed())?;
        headers.append(name, value);
    }
    if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
        // APIs take JSON, authorisation servers forms.
        let json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        let content_type = if json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    Ok(headers)
}

/// The name at the beginning of a malformed header, where a value follows it.
fn malformed_name(header: &str) -> Option<&str> {
    let (name, value) = header.split_once(['=', ':', ' ', '\t'])?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let has_value = !value.trim_matches(['=', ':', ' ', '\t']).is_empty();
    (has_value && !name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// The response in the command's JSON.
fn as_json(response: &HubResponse) -> Value {
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let (body, base64) = match str::from_utf8(&response.body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(&response.body))),
    };
    json!({
        "schema": 0,
        "status": response.status.as_u16(),
        "headers": headers,
        "body": body,
        "body_base64": base64,
        "interaction_id": response.interaction_id,
    })
}
