//! What front end and supervisor do not have, and what the front end cannot open. The front end is a test's, with the
//! library; its supervisor and its signer are the real ones.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::bank::config_of_child;
use crate::common::child_test;
use crate::common::poll::until;
use crate::common::procfs::{copies_in_memory, maps, memory_holds};
use crate::common::signer_process;
use crate::common::three_processes::{
    PORT_FILE, ROLE, ThreeProcesses, launch_with, program, scene, supervise_with,
};
use crate::common::trust_framework::write_file;
use bytes::Bytes;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::signer::RemoteKey;
use hsm_mtls::internal::signer::front_end_supervisor::{SignerPlan, inherit};
use hsm_mtls::internal::signer::process_launcher::{self, ProcessLauncher};
use hsm_mtls::internal::signer::sandbox::Sandbox;
use http::{HeaderMap, Method};
use tokio::runtime::Builder;
use url::Url;

#[test]
fn neither_front_end_nor_supervisor_has_the_module_or_the_pin() {
    let mut scene = scene();
    let file = scene.apart.path().join("the-pin");
    write_file(&file, &scene.pin, 0o600);
    let (path, folder) = (
        file.display().to_string(),
        scene.apart.path().display().to_string(),
    );
    let vault = scene.apart.path().join("vault");
    write_file(&vault, &format!("#!/bin/sh\nexec cat {path}\n"), 0o700);
    for (source, variables) in [
        (format!("{{ file = \"{path}\" }}"), vec![]),
        (
            "{ credential = \"the-pin\" }".to_owned(),
            vec![("CREDENTIALS_DIRECTORY", folder.as_str())],
        ),
        (format!("{{ command = [\"{}\"] }}", vault.display()), vec![]),
    ] {
        scene
            .bank
            .configure(|settings| settings.pin = source.clone());
        let processes = ThreeProcesses::start(&scene, a_process_of_the_harness, &variables);
        assert_eq!(processes.ask("request"), "200");
        let first = processes.signer();
        look(&processes, &source);
        // And after another signer has logged in.
        let killed = Command::new("kill")
            .args(["-ABRT", &first.to_string()])
            .status();
        assert!(killed.unwrap().success());
        until("another signer is there", || {
            signer_process::signers(&scene.bank)
                .iter()
                .any(|pid| *pid != first)
        });
        assert_eq!(processes.ask("request"), "200");
        look(&processes, &source);
    }
}

fn look(processes: &ThreeProcesses<'_>, source: &str) {
    let pin = processes.scene.pin.as_bytes();
    let (signer, front_end) = (processes.signer(), processes.front_end());
    // What looks for them finds them where they are.
    assert!(maps(signer).contains("libsofthsm2.so"));
    let copies = copies_in_memory(signer, pin);
    assert_eq!(copies, 1, "{source}: the signer keeps its PIN, once");
    assert!(is_locked(signer), "{source}");
    for (name, pid) in [
        ("front end", front_end),
        ("supervisor", processes.supervisor.id()),
    ] {
        assert!(
            !maps(pid).contains("softhsm"),
            "{source}: the {name} maps the module"
        );
        assert!(
            !memory_holds(pid, pin),
            "{source}: the {name} holds the PIN"
        );
    }
    for pid in [signer, front_end, processes.supervisor.id()] {
        for part in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{part}")).unwrap();
            assert!(
                !bytes.windows(pin.len()).any(|found| found == pin),
                "{source}: {part}"
            );
        }
    }
    let environ = fs::read(format!("/proc/{front_end}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("CREDENTIALS_DIRECTORY"));
}

/// Whether all of its memory is locked, as far as it is in use.
fn is_locked(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = |name: &str| -> u64 {
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
        let words = lines.next().unwrap().split_whitespace().nth(1);
        words.unwrap().parse().unwrap()
    };
    // All but what the kernel shows of itself.
    size("VmLck") > 0 && size("VmSize") - size("VmLck") < 64
}

#[test]
fn the_front_end_opens_neither_pin_nor_ledger_nor_writes_anywhere() {
    let scene = scene();
    let processes = ThreeProcesses::start(&scene, a_process_of_the_harness, &[]);
    assert_eq!(processes.ask("request"), "200");
    let ledger = scene.apart.path().join("ledger.jsonl");
    assert!(ledger.exists());
    let read = |path: &Path| processes.ask(&format!("read {}", path.display()));
    for path in [scene.bank.token.pin_file(), ledger, "/etc/shadow".into()] {
        assert!(File::open(&path).is_ok(), "{} is there", path.display());
        assert!(
            read(&path).contains("Permission denied"),
            "{}",
            path.display()
        );
    }
    for path in [
        scene.bank.path("new"),
        scene.bank.path("c3.pem"),
        scene.apart.path().join("new"),
        "/tmp/hsm-mtls-front-end".into(),
        "/var/tmp/hsm-mtls-front-end".into(),
    ] {
        let answer = processes.ask(&format!("write {}", path.display()));
        assert!(
            answer.contains("Permission denied"),
            "{}: {answer}",
            path.display()
        );
    }
    // Nobody but the hub is to be spoken to.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    assert!(
        processes
            .ask(&format!("connect {port}"))
            .contains("Permission denied")
    );
    // What it reads at a reload it may read, also when it was replaced.
    assert_eq!(read(&scene.bank.path("c3.pem")), "read");
    let before = processes.ask("reload");
    assert!(before.starts_with("serial "), "{before}");
    let renewed = scene.bank.write(
        "renewed.pem",
        &(scene.bank.issue() + &scene.bank.framework.issuing_pem()),
    );
    fs::rename(renewed, scene.bank.path("c3.pem")).unwrap();
    let after = processes.ask("reload");
    assert!(
        after.starts_with("serial ") && after != before,
        "{before}, then {after}"
    );
    assert_eq!(processes.ask("request"), "200");
}

#[test]
fn a_certificate_that_is_a_link_is_read_where_it_is() {
    let scene = scene();
    let elsewhere = tempfile::tempdir().unwrap();
    let (named, there) = (scene.bank.path("c3.pem"), elsewhere.path().join("c3-1.pem"));
    fs::copy(&named, &there).unwrap();
    fs::remove_file(&named).unwrap();
    symlink(&there, &named).unwrap();
    let processes = ThreeProcesses::start(&scene, a_process_of_the_harness, &[]);
    assert_eq!(processes.ask("request"), "200");
    assert!(processes.ask("reload").starts_with("serial "));
}

#[test]
fn a_pin_within_the_front_ends_reach_is_refused() {
    let mut scene = scene();
    let beside = scene.bank.path("pin-beside-the-certificate");
    write_file(&beside, &scene.pin, 0o600);
    scene
        .bank
        .configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", beside.display()));
    let error = Sandbox::of_front_end(&signer_process::config(&scene.bank)).expect_err("in reach");
    assert!(
        error.to_string().contains("pin-beside-the-certificate"),
        "{error}"
    );
}

#[test]
fn a_credential_beside_the_certificate_is_refused() {
    let mut scene = scene();
    write_file(&scene.bank.path("hsm-pin"), &scene.pin, 0o600);
    scene.bank.configure(|settings| {
        settings.pin = "{ credential = \"hsm-pin\" }".to_owned();
        settings
            .sections
            .push_str("[proxy]\naccept_same_user = true\n[[proxy.listener]]\nunix = \"s\"\n");
    });
    // As LoadCredential= of both has it.
    let folder = scene.bank.folder().to_owned();
    let run = scene
        .bank
        .run_with(&["proxy"], &[("CREDENTIALS_DIRECTORY", &folder)]);
    let run = run.expect(2);
    assert!(
        run.stderr.contains("hsm-pin") && run.stderr.contains("another folder"),
        "{run:?}"
    );
}

#[test]
fn a_pin_that_no_restart_survives_or_that_the_front_end_would_have_is_refused() {
    let mut scene = scene();
    for source in ["{ env = \"THE_PIN\" }", "\"prompt\"", "\"protected-path\""] {
        scene
            .bank
            .configure(|settings| settings.pin = source.to_owned());
        let config = scene.bank.config_path();
        let launcher = ProcessLauncher::start(program(&config, "process-launcher")).unwrap();
        let refused = SignerPlan::read(&launcher, &config, None);
        let refused = refused.expect_err(source);
        assert_eq!(refused.exit_code() as u8, 2, "{refused}");
        assert!(signer_process::signers(&scene.bank).is_empty());
    }
}

/// A bug of the process that reads the configuration is not taken for a mistake in it, nor for a token that is away.
#[test]
fn a_reader_that_ends_without_an_answer_is_a_bug() {
    let scene = scene();
    let config = scene.bank.config_path();
    let mut launcher = child_test::command(a_process_of_the_harness);
    launcher
        .env(ROLE, "launcher of another program")
        .env("HSM_MTLS_TEST_CONFIG", &config);
    let launcher = ProcessLauncher::start(launcher).unwrap();
    let error = SignerPlan::read(&launcher, &config, None).expect_err("there is no answer");
    assert_eq!(error.exit_code() as u8, 70, "{error}");
    assert!(error.to_string().contains("exit status: 1"), "{error}");
}

/// Supervisor, launcher and front end, as processes of their own.
#[test]
fn a_process_of_the_harness() {
    let Some(config) = config_of_child() else {
        return;
    };
    match std::env::var(ROLE).as_deref() {
        Ok("supervisor") => {
            let mut launcher = child_test::command(a_process_of_the_harness);
            launcher.env(ROLE, "launcher");
            supervise_with(launcher, &config.path);
        }
        Ok("launcher of another program") => {
            process_launcher::serve(|_| Command::new("/bin/false")).unwrap();
        }
        Ok("launcher") => {
            let front_end = || {
                let mut command = child_test::command(a_process_of_the_harness);
                command
                    .env(ROLE, "front end")
                    .env("HSM_MTLS_TEST_CONFIG", &config.path)
                    .env(PORT_FILE, std::env::var(PORT_FILE).unwrap());
                command
            };
            launch_with(front_end, &config.path);
        }
        Ok("front end") => front_end(&config),
        other => panic!("{other:?}"),
    }
}

fn front_end(config: &Config) {
    let inherited = inherit().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    fs::write(std::env::var(PORT_FILE).unwrap(), port.to_string()).unwrap();
    Sandbox::of_front_end(config).unwrap().enter().unwrap();
    let key = RemoteKey::connect_inherited(config, inherited.channels).unwrap();
    let identity = key.identity(config).unwrap();
    let client = Client::of(config, &identity).unwrap();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let (word, rest) = line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""));
        let said = match word {
            "request" => {
                let url: Url = format!("{}/hello-mtls", config.hub.services[0].origin)
                    .parse()
                    .unwrap();
                let sent = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                match runtime.block_on(sent) {
                    Ok(answer) => answer.status.as_u16().to_string(),
                    Err(error) => error.to_string(),
                }
            }
            "read" => match fs::read(rest) {
                Ok(_) => "read".to_owned(),
                Err(error) => error.to_string(),
            },
            "write" => match fs::write(rest, "x") {
                Ok(()) => "written".to_owned(),
                Err(error) => error.to_string(),
            },
            "connect" => match TcpStream::connect(("127.0.0.1", rest.parse::<u16>().unwrap())) {
                Ok(_) => "connected".to_owned(),
                Err(error) => error.to_string(),
            },
            "reload" => match key.identity(config) {
                Ok(identity) => format!("serial {:02x?}", identity.chain().leaf().serial_der()),
                Err(error) => error.to_string(),
            },
            _ => String::new(),
        };
        let _ = writeln!(stream, "{said}");
    }
}
