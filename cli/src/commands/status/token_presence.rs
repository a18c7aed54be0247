//! The token: whether it is there, and whether it says that few tries of the PIN are left. Only C_GetTokenInfo is asked, without a
//! session, a login or a PIN, in the process for the module; a module that hangs or crashes is one line of the screen.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use hsm_mtls::internal::config::{Config, TokenConfig};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::token::{Role, Token};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::super::json_notes;
use super::super::token_process::{self, Event, Listener, Side};
use super::super::{CommandError, output};
use super::proxy_state::ProxyAnswer;
use super::report::Found;
use super::state::State;

const ABOUT: &str = "token";
/// The names of what the child tells.
const TOKEN: &str = "token";
const NOTES: &str = "notes";
/// The longest that a step of the module may take: the screen is looked at by a person, and by a monitor with a timeout of its own.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found out about the tokens of a configuration.
pub(super) enum Tokens {
    /// An option, or the owner of a file, kept the module from being loaded.
    NotAsked(String),
    /// One for each `[[token]]` that answered, and why the process did not come to its end.
    Asked(Vec<Value>, Option<(String, String)>),
}

/// Asks the tokens, in a process of its own. `None`: this is that process, and it has told its parent.
pub(super) fn ask(config: &Config) -> Option<Tokens> {
    let mut config = config.clone();
    for token in [Some(&mut config.token), config.sig4_token.as_mut()]
        .into_iter()
        .flatten()
    {
        token.start_timeout = token.start_timeout.min(STEP_TIMEOUT);
    }
    let mut told = Told::default();
    let ended = match token_process::start_with(config, &mut told) {
        Ok(Side::Child(config)) => {
            tell_parent(&config);
            return None;
        }
        Ok(Side::Parent(ended)) => ended.err().map(|error| (error.to_string(), error.hint())),
        Err(CommandError::Stage(error)) => return Some(Tokens::NotAsked(error.to_string())),
        Err(error) => Some((error.to_string(), String::new())),
    };
    told.notes.iter().for_each(|note| output::remark(note));
    Some(Tokens::Asked(told.tokens, ended))
}

#[derive(Default)]
struct Told {
    tokens: Vec<Value>,
    notes: Vec<String>,
}

impl Listener for Told {
    /// What another user can change is not loaded, and no process is started with variables that name it.
    fn prepare(&mut self, config: &Config) -> Result<(), CommandError> {
        config.check_paths().map_err(CommandError::stage)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Fact(name, value) if name == TOKEN => self.tokens.push(value),
            Event::Fact(name, Value::String(note)) if name == NOTES => self.notes.push(note),
            _ => {}
        }
    }
}

fn tell_parent(config: &Config) {
    for token in config.tokens() {
        let described = describe(token);
        token_process::tell(&Event::Fact(TOKEN.to_owned(), described));
    }
    // Standard error has one object: the parent's.
    for note in json_notes::take() {
        token_process::tell(&Event::Fact(NOTES.to_owned(), note.into()));
    }
}

fn describe(config: &TokenConfig) -> Value {
    match Token::describe(config) {
        Ok(found) => {
            let warnings = match Role::from(config.user) {
                Role::SecurityOfficer => found.so_pin_warnings.clone(),
                _ => found.pin_warnings.clone(),
            };
            json!({
                "configured": config.uri.to_string(),
                "present": true,
                "uri": found.uri().to_string(),
                "manufacturer": found.manufacturer,
                "model": found.model,
                "firmware": format!("{}.{}", found.firmware.0, found.firmware.1),
                "pin_flags": warnings,
                "error": null,
                "hint": null,
            })
        }
        Err(error) => json!({
            "configured": config.uri.to_string(),
            "present": false,
            "pin_flags": [],
            "error": error.to_string(),
            "hint": error.hint(),
        }),
    }
}

pub(super) fn add(found: &mut Found, tokens: &Tokens, config: &Config, proxy: &ProxyAnswer) {
    let who = Who {
        has_token: proxy.has_token(),
        is_other_user: is_other_user(config),
    };
    let (tokens, ended) = match tokens {
        Tokens::Asked(tokens, ended) => (tokens, ended),
        Tokens::NotAsked(why) => {
            let (state, text) = match who.has_token {
                true => (
                    State::Ok,
                    format!("the proxy's signer has it; not asked here: {why}"),
                ),
                false => (State::Unknown, format!("not asked: {why}")),
            };
            found.item(ABOUT, state, text);
            found.details.insert("tokens".to_owned(), json!([]));
            return;
        }
    };
    tokens.iter().for_each(|token| add_token(found, token, who));
    if let Some((error, hint)) = ended {
        failed(found, error, hint, who);
    }
    found.details.insert("tokens".to_owned(), json!(tokens));
}

fn add_token(found: &mut Found, token: &Value, who: Who) {
    let text = |name: &str| token[name].as_str().unwrap_or_default();
    if token["present"] != true {
        return failed(found, text("error"), text("hint"), who);
    }
    let flags: Vec<_> = token["pin_flags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let present = format!(
        "present: {}, {}, firmware {}",
        text("configured"),
        text("model"),
        text("firmware")
    );
    if flags.is_empty() {
        return found.item(ABOUT, State::Ok, present);
    }
    // With any other flag no PIN is sent at all, also by a person.
    let is_count_low = flags.iter().all(|flag| flag.ends_with("_COUNT_LOW"));
    let (state, advice) = match is_count_low {
        true => (
            State::Warning,
            "find out who sent a wrong PIN; the next login takes a person at a terminal, or `hsm-mtls pin accept-count-low --once`",
        ),
        false => (
            State::Critical,
            "no PIN is sent before the token's administrator has set it right with the vendor's tool",
        ),
    };
    found.item(ABOUT, state, format!("{}; {present}", flags.join(" ")));
    found.act_now(advice, is_count_low.then_some("hsm-mtls token check"));
}

/// Who asks, where a token is not found.
#[derive(Clone, Copy)]
struct Who {
    /// The running proxy has the token.
    has_token: bool,
    /// It is not the user to whom the state of the service belongs.
    is_other_user: bool,
}

/// Whether this user is neither root nor the service's, and so may lack rights that the service has.
fn is_other_user(config: &Config) -> bool {
    let user = geteuid();
    let folder = config.token.state_folder();
    let folder = folder.and_then(|folder| fs::metadata(folder).ok());
    !user.is_root() && folder.is_some_and(|folder| folder.uid() != user.as_raw())
}

fn failed(found: &mut Found, error: &str, hint: &str, who: Who) {
    if who.has_token {
        let text = format!("the proxy's signer has it, and this user does not find it: {error}");
        return found.item(ABOUT, State::Unknown, text);
    }
    if who.is_other_user {
        let text = format!("this user, who is not the service's, does not find it: {error}");
        return found.item(ABOUT, State::Unknown, text);
    }
    found.item(ABOUT, State::Critical, error);
    found.act_now(hint, Some("hsm-mtls token check"));
}
