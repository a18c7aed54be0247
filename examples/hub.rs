//! The demo's Trust Framework and hub, for trying the tool without being a licensed institution.
//!
//! ```text
//! hub init DIR [--name NAME]...         make the CAs and a server certificate for the names in DIR
//! hub issue DIR CSR.pem                 print the client certificate and the Issuing CA's
//! hub serve DIR --port-file FILE        serve until stdin is closed or SIGTERM
//! ```
//!
//! Nothing of it is in the product. The keys of the CAs and of the server are toys: they lie in files, and whoever can
//! read DIR can issue certificates that the demo's hub accepts.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a demo says what it lacks and stops"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::hub::{Hub, HubOptions};
use common::trust_framework::{Kind, ServerIdentity, TrustFramework, write_file};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: hub init DIR [--name NAME]...
       hub issue DIR CSR.pem
       hub serve DIR --port-file FILE";
const NAMES: [&str; 3] = ["cm.demo.localhost", "hh.demo.localhost", "localhost"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["init", dir, options @ ..] => {
            let Some(names) = names(options) else {
                return usage();
            };
            init(Path::new(dir), &names);
        }
        ["issue", dir, csr] => issue(Path::new(dir), Path::new(csr)),
        ["serve", dir, "--port-file", file] => serve(Path::new(dir), Path::new(file)),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// `--name A --name B`, or the demo's own when there is none.
fn names<'a>(options: &[&'a str]) -> Option<Vec<&'a str>> {
    if options.is_empty() {
        return Some(NAMES.to_vec());
    }
    options
        .chunks(2)
        .map(|option| match option {
            ["--name", name] => Some(*name),
            _ => None,
        })
        .collect()
}

fn init(dir: &Path, names: &[&str]) {
    let framework = TrustFramework::new(Kind::Sandbox);
    framework.save(dir);
    let server = framework.issue_server(names);
    write_file(&dir.join("server.pem"), &server.chain_pem, 0o644);
    write_file(&dir.join("server-key.pem"), &server.key_pem, 0o600);
    write_file(&dir.join("host-name"), names[0], 0o644);
}

fn issue(dir: &Path, csr: &Path) {
    let framework = TrustFramework::load(dir);
    print!("{}", framework.issue_client(&read(csr)));
    print!("{}", framework.issuing_pem());
}

fn serve(dir: &Path, port_file: &Path) {
    let framework = TrustFramework::load(dir);
    let server = ServerIdentity::from_pem(
        &read(&dir.join("server.pem")),
        &read(&dir.join("server-key.pem")),
    );
    let mut options = HubOptions::new(server, framework.bundle_pem());
    options.host_name = read(&dir.join("host-name"));
    options.observer = Some(Box::new(|request, status| {
        eprintln!(
            "{} {} {} {}",
            request.method,
            request.path_and_query,
            status.as_u16(),
            request.client_subject.as_deref().unwrap_or("-"),
        );
    }));
    let runtime = Runtime::new().expect("a runtime for the hub");
    runtime.block_on(async {
        // Before the port is announced: from then on someone may want to stop us.
        let mut terminated = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
        let hub = Hub::start(options).await;
        announce(hub.port(), port_file);
        tokio::select! {
            _ = terminated.recv() => {}
            () = stdin_closed() => {}
        }
    });
    // A read of stdin cannot be called off, and a runtime that is dropped waits for it.
    runtime.shutdown_background();
}

/// Whoever waits for the file finds all of it or nothing.
fn announce(port: u16, file: &Path) {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    write_file(&draft, &port.to_string(), 0o644);
    fs::rename(&draft, file).expect("the port file in its place");
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 512];
    while stdin
        .read(&mut ignored)
        .await
        .is_ok_and(|length| length > 0)
    {}
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
