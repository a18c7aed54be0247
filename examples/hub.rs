//! The demo's Trust Framework and hub, for trying the tool without being a licensed institution.
//!
//! ```text
//! hub init DIR [--name NAME]...         make the CAs and a server certificate for the names in DIR
//! hub issue DIR CSR.pem                 print the client certificate and the Issuing CA's
//! hub serve DIR [OPTION]...             serve until Ctrl-C or SIGTERM; see --help
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
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::hub::{Hub, HubOptions};
use common::trust_framework::{Kind, ServerIdentity, TrustFramework, write_file};
use rustix::fs::{FileType, fstat};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: hub init DIR [--name NAME]...
         makes the CAs, and a server certificate for the names, in DIR
       hub issue DIR CSR.pem
         prints the client certificate for a request, and the Issuing CA's
       hub serve DIR [--listen ADDRESS:PORT | --port PORT] [--port-file FILE] [--until-signal]
         serves CM and HH until Ctrl-C or SIGTERM; requests are told on standard error
         --listen     where; 127.0.0.1 and any free port where it is not given
         --port       that port of 127.0.0.1
         --port-file  a file that the port is written to, once it listens
         --until-signal  goes on where standard input is a pipe and its other end is closed: that
                      is else the end, so that a hub does not outlive the script that started it";
const NAMES: [&str; 3] = ["cm.demo.localhost", "hh.demo.localhost", "localhost"];

fn main() -> ExitCode {
    // What a demo lacks is a sentence, not a stack.
    set_hook(Box::new(|panic| {
        let said = panic.payload();
        let said = said
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| said.downcast_ref::<&str>().copied());
        eprintln!("hub: {}", said.unwrap_or("it failed"));
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    catch_unwind(|| run(&arguments)).unwrap_or(ExitCode::FAILURE)
}

fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.iter().any(|word| ["-h", "--help"].contains(word)) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match words.as_slice() {
        ["init", dir, options @ ..] if !is_option(dir) => {
            let Some(names) = names(options) else {
                return usage("init takes a folder and --name NAME, any number of times");
            };
            init(Path::new(dir), &names)
        }
        ["issue", dir, csr] if !is_option(dir) => {
            issue(Path::new(dir), Path::new(csr));
            ExitCode::SUCCESS
        }
        ["serve", dir, options @ ..] if !is_option(dir) => match Serving::of(options) {
            Ok(serving) => serve(Path::new(dir), &serving),
            Err(why) => usage(&why),
        },
        [] => usage("say what to do"),
        _ => usage(&format!("{} is not understood", words.join(" "))),
    }
}

fn is_option(word: &str) -> bool {
    word.is_empty() || word.starts_with('-')
}

fn usage(why: &str) -> ExitCode {
    eprintln!("hub: {why}\n{USAGE}");
    ExitCode::from(2)
}

/// What `serve` is told.
struct Serving {
    at: SocketAddr,
    port_file: Option<PathBuf>,
    until_signal: bool,
}

impl Serving {
    fn of(options: &[&str]) -> Result<Self, String> {
        let mut serving = Self {
            at: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            port_file: None,
            until_signal: false,
        };
        let mut words = options.iter();
        while let Some(option) = words.next() {
            let mut value = |what: &str| {
                let given = words.next().copied();
                given.ok_or_else(|| format!("{option} takes {what}"))
            };
            match *option {
                "--listen" => {
                    let given = value("ADDRESS:PORT")?;
                    serving.at = given
                        .parse()
                        .map_err(|_| format!("{given} is no ADDRESS:PORT, as 127.0.0.1:8443"))?;
                }
                "--port" => {
                    let given = value("a number")?;
                    let port = given
                        .parse()
                        .map_err(|_| format!("{given} is no port: 0 to 65535"))?;
                    serving.at.set_port(port);
                }
                "--port-file" => serving.port_file = Some(value("a file")?.into()),
                "--until-signal" => serving.until_signal = true,
                other => return Err(format!("serve has no option {other}")),
            }
        }
        Ok(serving)
    }
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

fn init(dir: &Path, names: &[&str]) -> ExitCode {
    if dir.join("bundle.pem").exists() {
        eprintln!(
            "hub: {} holds a Trust Framework already, and what it has issued would be worth nothing: give another folder",
            dir.display()
        );
        return ExitCode::FAILURE;
    }
    let framework = TrustFramework::new(Kind::Sandbox);
    framework.save(dir);
    let server = framework.issue_server(names);
    write_file(&dir.join("server.pem"), &server.chain_pem, 0o644);
    write_file(&dir.join("server-key.pem"), &server.key_pem, 0o600);
    write_file(&dir.join("host-name"), names[0], 0o644);
    ExitCode::SUCCESS
}

fn issue(dir: &Path, csr: &Path) {
    let framework = TrustFramework::load(dir);
    print!("{}", framework.issue_client(&read(csr)));
    print!("{}", framework.issuing_pem());
}

fn serve(dir: &Path, serving: &Serving) -> ExitCode {
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
    // Tried first: that it is taken is a sentence.
    if let Err(error) = TcpListener::bind(serving.at) {
        eprintln!("hub: cannot listen on {}: {error}", serving.at);
        return ExitCode::FAILURE;
    }
    (options.address, options.port) = (serving.at.ip(), serving.at.port());
    let by_a_pipe = !serving.until_signal && is_a_pipe();
    let runtime = Runtime::new().expect("a runtime for the hub");
    runtime.block_on(async {
        // Before the port is announced: from then on someone may want to stop us.
        let mut terminated = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
        let mut interrupted = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
        let host = options.host_name.clone();
        let hub = Hub::start(options).await;
        let at = SocketAddr::new(serving.at.ip(), hub.port());
        let ends = match by_a_pipe {
            true => "until Ctrl-C, SIGTERM, or the other end of standard input is closed",
            false => "until Ctrl-C or SIGTERM",
        };
        eprintln!("hub: https://{host}:{} on {at}, {ends}", hub.port());
        if let Some(file) = &serving.port_file {
            announce(hub.port(), file);
        }
        let why = tokio::select! {
            _ = terminated.recv() => "SIGTERM",
            _ = interrupted.recv() => "SIGINT",
            () = stdin_closed(), if by_a_pipe => {
                "the other end of standard input was closed (--until-signal goes on then)"
            }
        };
        eprintln!("hub: the end: {why}");
    });
    // A read of stdin cannot be called off, and a runtime that is dropped waits for it.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

/// A terminal, a file or nothing at all says nothing by its end.
fn is_a_pipe() -> bool {
    let kind = fstat(std::io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    kind == Ok(FileType::Fifo)
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
