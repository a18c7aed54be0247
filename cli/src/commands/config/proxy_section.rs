//! `config check` of `[proxy]`: listeners, allowed callers and changed limits, and the errors that `proxy` would report
//! when it starts.

use std::path::Path;

use crate::proxy::{CALLER_TOKEN, check_tokens};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::Service;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress, ListenerConfig};
use hsm_mtls::internal::config::paths::{NOT_THERE, PathRole, inaccessible};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::proxy::{AccessLog, JwtAuth, ProxyConfig, SettingValue, Via};
use hsm_mtls::internal::config::reload::ReloadTrigger;
use hsm_mtls::internal::config::service_users::ServiceProcess;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::signer::sandbox::Sandbox;
use serde_json::{Value, json};

use super::super::CommandError;

/// The checks of `proxy` when it starts, with its errors.
///
/// # Errors
/// A caller token cannot be used, a user lacks access, or the front end would reach the PIN or the ledger.
pub(super) fn refuse(config: &Config) -> Result<(), CommandError> {
    config.check_access().map_err(CommandError::stage)?;
    let Some(proxy) = &config.proxy else {
        return Ok(());
    };
    let users = config.file_users(&PathRole::CallerToken);
    check_tokens(proxy, users).map_err(CommandError::stage)?;
    Sandbox::of_front_end(config).map_err(CommandError::stage)?;
    Ok(())
}

/// The section's values, as names and values.
pub(super) fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let Some(proxy) = &config.proxy else {
        return Vec::new();
    };
    let mut rows: Vec<_> = proxy
        .listeners
        .iter()
        .map(|listener| ("proxy listens on", listener_text(config, listener)))
        .collect();
    rows.push((
        "operations",
        proxy.operations.as_ref().map_or_else(
            || "nowhere: no /healthz, /readyz and /metrics".to_owned(),
            |operations| address_text(&operations.address),
        ),
    ));
    rows.push((
        "access log",
        match &proxy.access_log {
            AccessLog::Stdout => "standard output".to_owned(),
            AccessLog::File(path) => path_and_folder(path),
            AccessLog::Off => "off".to_owned(),
        },
    ));
    let wall = config.wall_between_processes();
    rows.extend(wall.map(|wall| ("users", wall)));
    if config.sig4.is_some() {
        rows.push(("JWT Auth", jwt_text(config, &proxy.jwt)));
    }
    if proxy.reload == ReloadTrigger::Watch {
        let watched = config.watched_files().into_iter();
        let watched: Vec<_> = watched.map(|path| path.display().to_string()).collect();
        let text = format!(
            "at SIGHUP, and when one of these is replaced: {}",
            watched.join(", ")
        );
        rows.push(("reload", text));
    }
    rows.push(("signatures", config.signature_limit().to_string()));
    let changed = proxy
        .settings()
        .into_iter()
        .filter(|setting| setting.value != setting.default);
    rows.extend(changed.map(|setting| {
        (
            setting.name,
            format!("{} (else {})", setting.value, setting.default),
        )
    }));
    if let Some(via) = via(proxy) {
        rows.push(("via", via.to_owned()));
    }
    rows
}

fn jwt_text(config: &Config, jwt: &JwtAuth) -> String {
    let services = config.hub.services.iter().map(|service| service.service);
    let covered = services.filter(|service| jwt.covers(*service));
    let covered: Vec<_> = covered.map(Service::name).collect();
    match covered.is_empty() {
        true => "off".to_owned(),
        false => format!("each request to {} carries a token", covered.join(" and ")),
    }
}

/// The value of `via`; `None` where it is the default.
fn via(proxy: &ProxyConfig) -> Option<&str> {
    match &proxy.via {
        Via::LfiCode => None,
        Via::Name(name) => Some(name),
        Via::Off => Some("off"),
    }
}

/// Notes on settings that are valid, but need attention.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let Some(proxy) = &config.proxy else {
        return Vec::new();
    };
    let mut notes: Vec<_> = proxy
        .listeners
        .iter()
        .filter_map(open_listener_note)
        .collect();
    let needs_person = |pin: &PinSource| match pin {
        PinSource::Env(_) | PinSource::Prompt | PinSource::ProtectedPath => true,
        PinSource::File(_)
        | PinSource::Credential(_)
        | PinSource::Command(_)
        | PinSource::Empty
        | PinSource::None => false,
    };
    let pins = config.tokens().map(|token| &token.pin);
    if let Some(pin) = pins.into_iter().find(|pin| needs_person(pin)) {
        notes.push(format!(
            "`proxy` does not start with this file: it takes the PIN from a file, a systemd credential or a program, \
             and not from {pin}"
        ));
    }
    if let Err(refused) = config.check_users() {
        let hint = refused.hint();
        notes.push(format!(
            "`proxy` is refused to the user who runs this: {refused}; {hint}"
        ));
    }
    notes
}

/// A note where every process of the machine can call the hub as the bank.
fn open_listener_note(listener: &ListenerConfig) -> Option<String> {
    let address = &listener.address;
    match (&listener.callers, address) {
        (Callers::AnyLocalProcess, ListenAddress::Unix { .. }) if !address.is_open_to_all() => None,
        (Callers::AnyLocalProcess, _) => Some(format!(
            "every process of this machine can call the hub as the bank at {address} (allow-any-local-process)"
        )),
        (Callers::SocketMode, ListenAddress::Unix { mode, .. }) if address.is_open_to_all() => {
            Some(format!(
                "every process that reaches {address} can call the hub as the bank: its mode {mode:04o} lets all connect"
            ))
        }
        _ => None,
    }
}

fn listener_text(config: &Config, listener: &ListenerConfig) -> String {
    format!(
        "{}; {}; {}",
        address_text(&listener.address),
        callers_text(&listener.callers, &listener.address),
        services_text(config, listener.upstream.as_deref())
    )
}

fn address_text(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Unix {
            path,
            mode,
            owner,
            group,
        } => {
            let mut text = format!("{}, mode {mode:04o}", path_and_folder(path));
            if let Some(owner) = owner {
                text.push_str(&format!(", owner {owner}"));
            }
            if let Some(group) = group {
                text.push_str(&format!(", group {group}"));
            }
            text
        }
        ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => address.to_string(),
    }
}

fn callers_text(callers: &Callers, address: &ListenAddress) -> String {
    match callers {
        Callers::SameUser => "for the user that runs the proxy".to_owned(),
        Callers::Peers { uids, gids } => {
            let list = |name: &str, ids: &[u32]| {
                let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
                (!ids.is_empty()).then(|| format!("{name} {}", ids.join(", ")))
            };
            let all = [list("uid", uids), list("primary gid", gids)];
            let all: Vec<_> = all.into_iter().flatten().collect();
            format!("for {}", all.join(" or "))
        }
        Callers::SocketMode => {
            "for whoever the socket's owner, group and mode let connect".to_owned()
        }
        Callers::Token(file) => format!(
            "for whoever sends the token of {} as {CALLER_TOKEN} or before the path",
            file.display()
        ),
        Callers::AnyLocalProcess => match address.is_open_to_all() {
            true => "for every process of this machine".to_owned(),
            false => "for every process that its mode lets connect".to_owned(),
        },
    }
}

fn services_text(config: &Config, upstream: Option<&str>) -> String {
    let services = config.hub.services.iter().map(|service| service.service);
    let mut services =
        services.filter(|service| upstream.is_none_or(|only| only == service.label()));
    match upstream {
        Some(_) => {
            let name = services.next().map_or("", Service::name);
            format!("to {name}")
        }
        None => {
            let all =
                services.map(|service| format!("/{}/ to {}", service.label(), service.name()));
            all.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The path of a file that `proxy` creates, and why its folder is not accessible.
fn path_and_folder(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path);
    match inaccessible(folder) {
        None if folder.is_dir() => path.display().to_string(),
        None => format!("{} (its folder is no folder)", path.display()),
        Some(reason) if reason == NOT_THERE => {
            format!("{} (its folder is {reason})", path.display())
        }
        Some(reason) => format!("{} (its folder {reason})", path.display()),
    }
}

/// The same values in the command's JSON.
pub(super) fn as_json(config: &Config) -> Value {
    let Some(proxy) = &config.proxy else {
        return Value::Null;
    };
    let listeners: Vec<_> = proxy
        .listeners
        .iter()
        .map(|one| listener_json(config, one))
        .collect();
    json!({
        "listeners": listeners,
        "operations": proxy.operations.as_ref().map(|operations| {
            let mut place = address_json(&operations.address);
            place["host_names"] = json!(operations.host_names);
            place
        }),
        "access_log": match &proxy.access_log {
            AccessLog::Stdout => json!("stdout"),
            AccessLog::File(path) => json!(path),
            AccessLog::Off => json!("off"),
        },
        "users": {
            "signer": config.user_of(ServiceProcess::Signer),
            "front_end": config.user_of(ServiceProcess::FrontEnd),
            "separate": config.has_separate_users(),
            "accept_same_user": proxy.accept_same_user,
        },
        "reload": proxy.reload.as_str(),
        "jwt": proxy.jwt.as_str(),
        "limits": limits_json(proxy),
        "notes": notes(config),
    })
}

fn listener_json(config: &Config, listener: &ListenerConfig) -> Value {
    let callers = match &listener.callers {
        Callers::SameUser => json!({ "kind": "own-user" }),
        Callers::Peers { uids, gids } => json!({ "kind": "peers", "uids": uids, "gids": gids }),
        Callers::SocketMode => json!({ "kind": "socket-mode" }),
        Callers::Token(file) => {
            json!({ "kind": "token", "token_file": file, "header": CALLER_TOKEN.as_str() })
        }
        Callers::AnyLocalProcess => json!({ "kind": "allow-any-local-process" }),
    };
    let upstream = listener.upstream.as_deref();
    let services = config
        .hub
        .services
        .iter()
        .map(|service| service.service.label());
    let upstreams: Vec<_> = services
        .filter(|service| upstream.is_none_or(|only| only == *service))
        .map(|service| {
            let prefix = upstream.is_none().then(|| format!("/{service}"));
            json!({ "service": service, "prefix": prefix })
        })
        .collect();
    json!({
        "place": address_json(&listener.address),
        "callers": callers,
        "upstreams": upstreams,
        "host_names": listener.host_names,
    })
}

fn address_json(address: &ListenAddress) -> Value {
    match address {
        ListenAddress::Unix {
            path,
            mode,
            owner,
            group,
        } => {
            json!({ "unix": path, "mode": format!("{mode:04o}"), "owner": owner, "group": group })
        }
        ListenAddress::Tcp(socket) => json!({ "tcp": socket.to_string() }),
        ListenAddress::Systemd(name) => json!({ "systemd": name }),
    }
}

/// The limits that differ from their defaults; durations in milliseconds.
fn limits_json(proxy: &ProxyConfig) -> Value {
    let changed = proxy
        .settings()
        .into_iter()
        .filter(|setting| setting.value != setting.default);
    let via = via(proxy).map(|via| ("via".to_owned(), json!(via)));
    changed
        .map(|setting| match setting.value {
            SettingValue::Count(count) => (setting.name.to_owned(), json!(count)),
            SettingValue::Time(time) => (
                format!("{}_ms", setting.name),
                json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            ),
            SettingValue::Switch(on) => (setting.name.to_owned(), json!(on)),
        })
        .chain(via)
        .collect::<serde_json::Map<_, _>>()
        .into()
}
