//! The other clients of the token that are compared: nginx and stunnel as local proxies, curl for one request. They use
//! the key through OpenSSL's engine for PKCS#11, or through pkcs11-provider where that is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::bank::Bank;
use crate::common::softhsm::MODULE;
use crate::common::trust_framework::write_file;
use crate::servers::{Server, free_port, nginx, nginx_command, program};

/// A row of the table that may be missing.
pub type Peer<T = Server> = Result<T, String>;

const NOT_INSTALLED: &str = "not installed";

/// nginx as the local proxy of two hubs.
pub struct NginxProxy {
    pub server: Server,
    /// Where it takes requests for the one and for the other.
    pub ports: [u16; 2],
}

/// By what OpenSSL reaches the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Engine,
    Provider,
}

/// A module of OpenSSL in the folder of its kind.
fn openssl_module(name: &str) -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").ok()?.flatten();
    architectures
        .map(|folder| folder.path().join(name))
        .find(|module| module.is_file())
}

fn key_uri(bank: &Bank) -> Result<String, String> {
    let pin = fs::read_to_string(bank.token.pin_file()).map_err(|error| error.to_string())?;
    Ok(format!(
        "pkcs11:token={};object=c3;type=private;pin-value={}",
        bank.token.label(),
        pin.trim()
    ))
}

/// OpenSSL's configuration, and the key as nginx takes it.
fn openssl(bank: &Bank, access: Access) -> Result<(PathBuf, String), String> {
    match access {
        Access::Engine => Ok((
            engine_conf(bank)?,
            format!("engine:pkcs11:{}", key_uri(bank)?),
        )),
        Access::Provider => {
            let provider = openssl_module("ossl-modules/pkcs11.so").ok_or(NOT_INSTALLED)?;
            let conf = bank.write(
                "openssl-provider.cnf",
                &format!(
                    "openssl_conf = start\n[start]\nproviders = all\n[all]\ndefault = default\npkcs11 = pkcs11\n\
                     [default]\nactivate = 1\n[pkcs11]\nmodule = {}\npkcs11-module-path = {MODULE}\nactivate = 1\n",
                    provider.display()
                ),
            );
            let pem = provider_pem(&key_uri(bank)?);
            let file = bank.path("provider-key.pem");
            write_file(&file, &pem, 0o600);
            Ok((conf, file.display().to_string()))
        }
    }
}

/// The file that names a key for pkcs11-provider where a program takes files only: a SEQUENCE of two UTF8Strings, the
/// form's name and the URI (docs of pkcs11-provider, uri2pem).
fn provider_pem(uri: &str) -> String {
    let string = |text: &str| {
        let mut der = vec![0x0c];
        der.extend(der_length(text.len()));
        der.extend(text.as_bytes());
        der
    };
    let content = [string("PKCS#11 Provider URI v1.0"), string(uri)].concat();
    let mut der = vec![0x30];
    der.extend(der_length(content.len()));
    der.extend(content);
    let label = "PKCS#11 PROVIDER URI";
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn der_length(length: usize) -> Vec<u8> {
    match length {
        0..0x80 => vec![length as u8],
        0x80..0x100 => vec![0x81, length as u8],
        _ => vec![0x82, (length >> 8) as u8, length as u8],
    }
}

fn engine_conf(bank: &Bank) -> Result<PathBuf, String> {
    let engine = openssl_module("engines-3/pkcs11.so").ok_or(NOT_INSTALLED)?;
    Ok(bank.write(
        "openssl.cnf",
        &format!(
            "openssl_conf = start\n[start]\nengines = all\n[all]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n\
             dynamic_path = {}\nMODULE_PATH = {MODULE}\ninit = 1\n",
            engine.display()
        ),
    ))
}

/// nginx as a proxy, whose key is in the token by OpenSSL's engine: a connection to the hub for each
/// request, and no log.
pub fn nginx_with_engine(bank: &Bank, hub: &Server) -> Peer {
    let port = hub.port;
    let locations = format!("location / {{ proxy_pass https://127.0.0.1:{port}; }}");
    with_openssl(bank, Access::Engine, "", |listens| {
        server_block(listens, &locations)
    })
}

/// The same as it is operated: with its access log, and with connections to the hubs that are kept,
/// except where a hub ends them.
pub fn nginx_kept_alive(bank: &Bank, access: Access, hubs: [&Server; 2]) -> Peer<NginxProxy> {
    let second = free_port();
    let upstream = |name: &str, hub: &Server| {
        format!(
            "upstream {name} {{ server 127.0.0.1:{}; keepalive 128; keepalive_requests 1000000; }}\n",
            hub.port
        )
    };
    let upstreams = upstream("first", hubs[0]) + &upstream("second", hubs[1]);
    let locations = |name: &str| {
        format!(
            "access_log access.log; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             location / {{ proxy_pass https://{name}; }}"
        )
    };
    let server = with_openssl(bank, access, &upstreams, |listens| {
        server_block(listens, &locations("first")) + &server_block(second, &locations("second"))
    })?;
    let ports = [server.port, second];
    Ok(NginxProxy { server, ports })
}

fn server_block(listens: u16, locations: &str) -> String {
    format!(
        "server {{ listen 127.0.0.1:{listens} backlog=4096; keepalive_requests 1000000;\n{locations}\n}}\n"
    )
}

fn with_openssl(
    bank: &Bank,
    access: Access,
    upstreams: &str,
    servers: impl FnOnce(u16) -> String,
) -> Peer {
    let (openssl_conf, key) = openssl(bank, access)?;
    let softhsm_conf = bank.token.conf();
    let configure = |dir: &Path, port| {
        write_file(&dir.join("roots.pem"), &bank.framework.bundle_pem(), 0o644);
        let http = format!(
            "proxy_ssl_certificate {}; proxy_ssl_certificate_key \"{key}\"; proxy_ssl_session_reuse off; proxy_ssl_protocols TLSv1.3;\n\
             proxy_ssl_verify on; proxy_ssl_verify_depth 2; proxy_ssl_trusted_certificate roots.pem; proxy_ssl_name localhost;\n\
             client_max_body_size 0;\n{upstreams}{}",
            bank.path("c3.pem").display(),
            servers(port)
        );
        let extra = "env SOFTHSM2_CONF;\nenv OPENSSL_CONF;";
        write_file(&dir.join("nginx.conf"), &nginx(extra, &http), 0o600);
    };
    let command = move |dir: &Path| {
        let mut command = nginx_command(dir);
        command
            .env("SOFTHSM2_CONF", &softhsm_conf)
            .env("OPENSSL_CONF", &openssl_conf);
        command
    };
    Server::start(command, configure)
}

/// stunnel with the same engine. It has no HTTP: each connection to it is one to the hub.
pub fn stunnel_with_engine(bank: &Bank, hub: &Server) -> Peer {
    let program = program(&["stunnel4", "stunnel"]).ok_or(NOT_INSTALLED)?;
    engine_conf(bank)?;
    let pin = fs::read_to_string(bank.token.pin_file()).map_err(|error| error.to_string())?;
    let configure = |dir: &Path, port| {
        write_file(&dir.join("roots.pem"), &bank.framework.bundle_pem(), 0o644);
        let text = format!(
            "foreground = yes\npid =\ndebug = 3\nengine = pkcs11\nengineCtrl = MODULE_PATH:{MODULE}\nengineCtrl = PIN:{}\n\
             [hub]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{}\nengineId = pkcs11\n\
             key = pkcs11:token={};object=c3;type=private\ncert = {}\nCAfile = {}\nverifyChain = yes\n\
             sessionResume = no\nsslVersionMin = TLSv1.3\ncheckHost = localhost\n",
            pin.trim(),
            hub.port,
            bank.token.label(),
            bank.path("c3.pem").display(),
            dir.join("roots.pem").display(),
        );
        write_file(&dir.join("stunnel.conf"), &text, 0o600);
    };
    let softhsm_conf = bank.token.conf();
    let command = move |dir: &Path| {
        let mut command = Command::new(&program);
        command
            .arg(dir.join("stunnel.conf"))
            .env("SOFTHSM2_CONF", &softhsm_conf);
        command
    };
    Server::start(command, configure)
}

/// curl with the same engine: one request.
pub fn curl(bank: &Bank, url: &str) -> Peer<Command> {
    let program = program(&["curl"]).ok_or(NOT_INSTALLED)?;
    let openssl_conf = engine_conf(bank)?;
    let roots = bank.write("roots.pem", &bank.framework.bundle_pem());
    let mut command = Command::new(program);
    command
        .args([
            "-sS",
            "--tlsv1.3",
            "--engine",
            "pkcs11",
            "--key-type",
            "ENG",
            "--key",
        ])
        .arg(key_uri(bank)?)
        .arg("--cert")
        .arg(bank.path("c3.pem"))
        .arg("--cacert")
        .arg(roots)
        .arg(url)
        .env("SOFTHSM2_CONF", bank.token.conf())
        .env("OPENSSL_CONF", openssl_conf);
    Ok(command)
}
