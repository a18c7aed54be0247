//! Standard error, standard output, the access log and the service manager's socket may be closed, full or blocked:
//! requests are served, reloads and restarts work, the stop is in time, and lost lines are counted.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::broken_stream::{FAULTS, Fault};
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found_within, until};
use crate::common::procfs::launched;
use crate::common::proxy::{Ports, Proxy};
use crate::common::signer_process::signers;

const RELOADS: &str = "hsm_mtls_proxy_reloads_total";
const LOG_LINES: &str = "hsm_mtls_log_lines_lost_total";
const ACCESS_LINES: &str = "hsm_mtls_proxy_log_lines_lost_total";
const LIMIT: u64 = 1 << 20;

/// Consent Manager answers; at Headless Heimdall's port nobody listens.
fn scene(lines: &str) -> (Bank, Hub, Ports) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.headless_heimdall = "https://127.0.0.1:1".to_owned());
    let ports = Proxy::configure(&mut bank, lines, "");
    (bank, hub, ports)
}

fn log_to(bank: &mut Bank, place: &str) {
    let line = format!("access_log = \"{place}\"");
    bank.configure(|settings| {
        settings.sections = settings
            .sections
            .replace("access_log = \"log/access.jsonl\"", &line);
    });
}

fn reloads(proxy: &Proxy) -> f64 {
    proxy.metric(RELOADS, &[("result", "good")])
}

/// All that each process has to say something of: refused callers, a service that is not there, a
/// reload, the end of a signer and of a front end, its own end.
fn works(bank: &Bank, proxy: Proxy, why: &str) {
    serves(&proxy, why);
    for wanted in [1.0, 2.0] {
        proxy.signal("HUP");
        until("a reload", || reloads(&proxy) == wanted);
        serves(&proxy, why);
    }
    until("the signer before has gone", || signers(bank).len() == 1);
    let before = signers(bank);
    kill(before[0]);
    until("another signer", || {
        let now = signers(bank);
        now.len() == 1 && now != before
    });
    // One that is killed within C_Login may leave the token's files broken.
    until("it has its key", || {
        proxy.ready()["token"]["signer"]["state"] == "ready"
    });
    serves(&proxy, why);
    let signer = signers(bank);
    let front_end = launched(proxy.pid())
        .into_iter()
        .find(|pid| !signer.contains(pid));
    kill(front_end.expect("a front end"));
    until("another front end", || {
        let now = launched(proxy.pid());
        now.len() == 2 && !now.contains(&front_end.unwrap())
    });
    serves(&proxy, why);
    stops(proxy, why);
}

fn serves(proxy: &Proxy, why: &str) {
    for _ in 0..3 {
        let (status, answer) = proxy.get("/cm/consents/1");
        assert_eq!(status, 200, "{why}: {answer}");
        let (status, answer) = proxy.get("/hh/consents/1");
        assert!(matches!(status, 502 | 503), "{why}: {answer}");
        assert!(answer.contains("application/problem+json"), "{why}");
    }
}

fn stops(proxy: Proxy, why: &str) {
    proxy.signal("TERM");
    let status = proxy.ended();
    assert_eq!(status.code(), Some(0), "{why}: {status}");
}

fn kill(pid: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[test]
fn standard_error_may_be_gone_full_or_blocked() {
    for format in ["text", "json"] {
        for fault in FAULTS {
            let why = format!("{fault:?}, {format}");
            let (bank, _hub, ports) = scene("");
            let broken = fault.stream();
            let mut command = Proxy::command(&bank, &[]);
            command
                .args(["--log-format", format])
                .stdout(Stdio::null())
                .stderr(broken.stdio());
            let proxy = Proxy::start_command(&bank, ports, command);
            serves(&proxy, &why);
            if !fault.blocks() {
                until("lines are counted", || proxy.metric(LOG_LINES, &[]) > 0.0);
            }
            works(&bank, proxy, &why);
        }
    }
}

#[test]
fn queued_log_lines_are_written_when_the_reader_resumes() {
    for fault in [Fault::Blocked, Fault::BlockedSocket] {
        let (bank, _hub, ports) = scene("");
        let mut broken = fault.stream();
        let mut command = Proxy::command(&bank, &[]);
        command.stdout(Stdio::null()).stderr(broken.stdio());
        let proxy = Proxy::start_command(&bank, ports, command);
        proxy.signal("HUP");
        until("a reload", || reloads(&proxy) == 1.0);
        let text = broken.read_until("reloaded");
        assert!(!text.contains("missing"), "nothing was lost: {text}");
        stops(proxy, "read again");
    }
}

#[test]
fn lost_log_lines_are_reported() {
    for fault in [Fault::Blocked, Fault::BlockedSocket] {
        let (mut bank, _hub, ports) = scene("");
        // More than is kept.
        gives_pin(&mut bank, "yes 'a line of sixteen' | head -c 3000000 >&2");
        let mut broken = fault.stream();
        let mut command = Proxy::command(&bank, &[]);
        command.stdout(Stdio::null()).stderr(broken.stdio());
        let proxy = Proxy::start_command(&bank, ports, command);
        let text = broken.read_until("log lines are missing here");
        assert!(text.len() > 1 << 19, "{}", text.len());
        let kept = text.matches("a line of sixteen\n").count();
        let (_, lost) = text.split_once("lost=").unwrap();
        let lost = lost.split_once('\n').unwrap().0;
        let written = 3_000_000 / "a line of sixteen\n".len();
        // The last was cut off.
        let all = kept + lost.parse::<usize>().unwrap();
        assert!((written..=written + 1).contains(&all), "{kept} + {lost}");
        stops(proxy, "read again");
    }
}

#[test]
fn closed_standard_streams_are_no_obstacle() {
    for closed in ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"] {
        let (mut bank, _hub, ports) = scene("");
        log_to(&mut bank, "stdout");
        let script = format!("exec \"$@\" {closed}");
        let mut command = Proxy::command(&bank, &["sh", "-c", &script, "sh"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = Proxy::start_command(&bank, ports, command);
        works(&bank, proxy, closed);
    }
}

#[test]
fn an_access_log_on_standard_output_may_be_gone_full_or_blocked() {
    // 2 MiB wait for a reader; each line has its path.
    let long = format!("/cm/consents/{}", "a".repeat(12 << 10));
    for fault in FAULTS {
        let why = format!("{fault:?}");
        let (mut bank, _hub, ports) = scene("");
        log_to(&mut bank, "stdout");
        let broken = fault.stream();
        let log = File::create(bank.path("proxy.log")).unwrap();
        let mut command = Proxy::command(&bank, &[]);
        command.stdout(broken.stdio()).stderr(log);
        let proxy = Proxy::start_command(&bank, ports, command);
        let mut sent = 0;
        // Hundreds of requests, on a machine that is busy.
        let counted = found_within(Duration::from_secs(60), || {
            assert_eq!(proxy.get(&long).0, 200, "{why}");
            sent += 1;
            (proxy.metric(ACCESS_LINES, &[]) > 0.0).then_some(())
        });
        assert!(counted.is_some(), "{why}: none is counted after {sent}");
        assert!(sent > 100 || !fault.blocks(), "{why}: lost after {sent}");
        let reported = || proxy.log().matches("the access log is not written").count();
        // Another thread writes the log.
        until("it is reported", || reported() > 0);
        assert_eq!(reported(), 1, "{why}: {}", proxy.log());
        works(&bank, proxy, &why);
    }
}

#[test]
fn an_access_log_on_a_full_disk_is_written_on_when_there_is_room() {
    let (mut bank, _hub, ports) = scene("");
    log_to(&mut bank, "log/access.jsonl");
    let log = bank.path("log/access.jsonl");
    let errors = bank.path("proxy.log");
    full(&log);
    full(&errors);
    let limit = format!("--fsize={LIMIT}");
    let mut command = Proxy::command(&bank, &["prlimit", &limit]);
    let append = File::options().append(true).open(&errors).unwrap();
    command.stdout(Stdio::null()).stderr(append);
    let proxy = Proxy::start_command(&bank, ports, command);
    serves(&proxy, "at the limit of a file's size");
    until("lines of the access log are counted", || {
        proxy.metric(ACCESS_LINES, &[]) >= 3.0
    });
    until("lines of the log are counted", || {
        serves(&proxy, "full");
        proxy.metric(LOG_LINES, &[]) > 0.0
    });
    fs::write(&log, "").unwrap();
    fs::write(&errors, "").unwrap();
    until("both are written again", || {
        serves(&proxy, "with room again");
        let said = proxy.log();
        said.contains("log lines are missing here") && said.contains("is written again")
    });
    for line in fs::read_to_string(&log).unwrap().lines() {
        let line: Result<serde_json::Value, _> = serde_json::from_str(line);
        line.expect("a whole line");
    }
    assert_eq!(proxy.log().matches("is written again").count(), 1);
    works(&bank, proxy, "with room again");
}

/// A file as large as the process may write.
fn full(path: &Path) {
    File::create(path).unwrap().set_len(LIMIT).unwrap();
}

#[test]
fn an_access_log_may_be_a_pipe_that_nobody_reads() {
    let (mut bank, _hub, ports) = scene("");
    log_to(&mut bank, "log/pipe");
    let pipe = bank.path("log/pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let refused = bank.run(&["proxy"]).expect(2);
    assert!(refused.stderr.contains("access log"), "{}", refused.stderr);
    // Opened for both, it has a reader that does not read.
    let open = || File::options().read(true).write(true).open(&pipe).unwrap();
    let mut reader = open();
    reader.write_all(&vec![b'\n'; 64 << 10]).unwrap();
    let proxy = Proxy::start(&bank, ports);
    works(&bank, proxy, "a pipe");
    let proxy = Proxy::start(&bank, ports);
    serves(&proxy, "a pipe");
    drop(reader);
    until("lines are counted", || {
        serves(&proxy, "a pipe without a reader");
        proxy.metric(ACCESS_LINES, &[]) > 0.0
    });
    proxy.signal("HUP");
    until("a reload", || reloads(&proxy) == 1.0);
    serves(&proxy, "a pipe without a reader");
    stops(proxy, "a pipe without a reader");
}

#[test]
fn the_service_manager_may_have_gone_or_be_busy() {
    let (bank, _hub, ports) = scene("");
    let socket = bank.path("notify.sock");
    let variables: [(&str, PathBuf); 1] = [("NOTIFY_SOCKET", socket.clone())];
    works(&bank, Proxy::start_with(&bank, ports, &variables), "never");

    let manager = UnixDatagram::bind(&socket).unwrap();
    let proxy = Proxy::start_with(&bank, ports, &variables);
    drop(manager);
    works(&bank, proxy, "gone");

    fs::remove_file(&socket).unwrap();
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"WATCHDOG=1", &socket).is_ok() {}
    let proxy = Proxy::start_with(&bank, ports, &variables);
    serves(&proxy, "busy");
    proxy.signal("HUP");
    until("a reload", || reloads(&proxy) == 1.0);
    // A start that is not told of would be ended.
    let mut told = Vec::new();
    while told.len() < 3 {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        if text != "WATCHDOG=1" {
            told.push(text);
        }
    }
    assert_eq!(told[0], "READY=1");
    assert!(told[1].starts_with("RELOADING=1"), "{told:?}");
    assert_eq!(told[2], "READY=1");
    while other.send_to(b"WATCHDOG=1", &socket).is_ok() {}
    stops(proxy, "busy");
}

/// The PIN comes from a program that does something before.
fn gives_pin(bank: &mut Bank, before: &str) {
    let pin = bank.token.pin_file().display().to_string();
    let script = format!("#!/bin/sh\nset -e\n{before}\ncat '{pin}'\n");
    let program = bank.write("give-pin", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    bank.configure(|settings| {
        settings.pin = format!("{{ command = [\"{}\"] }}", program.display());
    });
}

#[test]
fn a_program_that_gives_the_pin_may_say_what_it_likes() {
    for fault in FAULTS {
        let (mut bank, _hub, ports) = scene("");
        // More than a pipe holds, and no end of a line.
        gives_pin(&mut bank, "head -c 200000 /dev/zero | tr '\\0' . >&2");
        let broken = fault.stream();
        let mut command = Proxy::command(&bank, &[]);
        command.stdout(Stdio::null()).stderr(broken.stdio());
        let proxy = Proxy::start_command(&bank, ports, command);
        works(&bank, proxy, &format!("{fault:?}"));
    }
}
