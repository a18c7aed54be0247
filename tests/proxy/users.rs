//! A proxy that is started as root: signer and front end are users of their own, from before they read a PIN or the network,
//! and stay so through a reload and a respawn.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::bank::{BINARY, Bank};
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found, until};
use crate::common::procfs::children;
use crate::common::proxy::Proxy;
use crate::common::service_users::{FRONT_END, SIGNER, give_users, ledger, mode};
use crate::common::signer_process::signers;

fn scene() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    (bank, hub)
}

/// The values of a line of /proc/PID/status.
fn status_of(pid: u32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name}:")));
    let words = line.unwrap().split_whitespace();
    words.map(str::to_owned).collect()
}

/// Real, effective, saved and file system ids, groups and capabilities: nothing of root is left.
fn is_user(pid: u32, id: u32) {
    let id = id.to_string();
    assert_eq!(status_of(pid, "Uid"), vec![id.clone(); 4], "{pid}");
    assert_eq!(status_of(pid, "Gid"), vec![id.clone(); 4], "{pid}");
    assert_eq!(status_of(pid, "Groups"), [id], "{pid}");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status_of(pid, set), ["0000000000000000"], "{pid} {set}");
    }
    assert_eq!(status_of(pid, "NoNewPrivs"), ["1"], "{pid}");
}

fn is_root(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("\nUid:\t0\t")
}

/// Every process below the supervisor.
fn below(pid: u32) -> Vec<u32> {
    let mut all = children(pid);
    let deeper: Vec<_> = all.iter().flat_map(|child| below(*child)).collect();
    all.extend(deeper);
    all
}

fn front_ends(proxy: &Proxy) -> Vec<u32> {
    let mut all = below(proxy.pid());
    all.retain(|pid| {
        let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        argv.ends_with(b"front-end\0")
    });
    all
}

/// The signer and the front end.
fn users_are_right(proxy: &Proxy, bank: &Bank) -> (u32, u32) {
    let pair = found(|| match (&signers(bank)[..], &front_ends(proxy)[..]) {
        // Each is root for the moment between its exec and its first step.
        ([signer], [front_end]) if ![*signer, *front_end].iter().any(|pid| is_root(*pid)) => {
            Some((*signer, *front_end))
        }
        _ => None,
    });
    let (signer, front_end) = pair.unwrap_or_else(|| panic!("{}", proxy.log()));
    is_user(signer, SIGNER.1);
    is_user(front_end, FRONT_END.1);
    assert_eq!(status_of(proxy.pid(), "Uid"), vec!["0"; 4]);
    (signer, front_end)
}

fn kill(pid: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

/// Whether a process with the ids of this user could read the file, without the walls beside that.
fn can_read(user: (&str, u32), path: &Path) -> bool {
    let id = user.1.to_string();
    let read = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "cat"])
        .arg(path)
        .output();
    read.unwrap().status.success()
}

#[test]
fn signer_and_front_end_are_users_of_their_own() {
    let (mut bank, _hub) = scene();
    let ports = give_users(&mut bank);
    bank.run(&["config", "check"]).expect(0);
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 200, "{}", proxy.log());
    let (signer, front_end) = users_are_right(&proxy, &bank);

    let environ = fs::read(format!("/proc/{signer}/environ")).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    for variable in [
        format!("USER={}", SIGNER.0),
        format!("LOGNAME={}", SIGNER.0),
    ] {
        assert!(environ.split('\0').any(|set| set == variable), "{variable}");
    }

    let (pin, config) = (bank.token.pin_file(), bank.config_path());
    assert!(can_read(SIGNER, &pin) && !can_read(SIGNER, &config));
    for path in [&pin, &config, &ledger(&bank)] {
        assert!(!can_read(FRONT_END, path), "{}", path.display());
    }
    let made_by = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!(made_by(&ledger(&bank)), SIGNER.1);
    assert_eq!(made_by(&bank.path("log/access.jsonl")), FRONT_END.1);

    proxy.signal("HUP");
    until("a reload", || {
        proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "good")]) == 1.0
    });
    until("the signer before is gone", || signers(&bank).len() == 1);
    let (reloaded, same) = users_are_right(&proxy, &bank);
    assert!(reloaded != signer && same == front_end);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    kill(reloaded);
    until("another signer", || {
        signers(&bank).iter().any(|pid| *pid != reloaded)
    });
    users_are_right(&proxy, &bank);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    kill(front_end);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let (_, respawned) = users_are_right(&proxy, &bank);
    assert_ne!(respawned, front_end);
    // It serves the token's callers too, whose file is root's.
    let answer = proxy.ready();
    assert_eq!(answer["ready"], true, "{answer}");

    let all = below(proxy.pid());
    proxy.signal("TERM");
    assert!(proxy.ended().success());
    for pid in all {
        assert!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "{pid}");
    }
}

/// `callers` means by default the user that starts the proxy.
#[test]
fn root_may_call_and_the_front_ends_user_may_not() {
    let (mut bank, _hub) = scene();
    let ports = give_users(&mut bank);
    let sections = |text: &str| {
        text.replace(
            "unix = \"hub.sock\"",
            "unix = \"hub.sock\"\nmode = \"0666\"",
        )
    };
    bank.configure(|settings| settings.sections = sections(&settings.sections));
    let proxy = Proxy::start(&bank, ports);
    let ask = |user: (&str, u32)| {
        let id = user.1.to_string();
        let asked = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .args([
                "curl",
                "--silent",
                "--max-time",
                "20",
                "--output",
                "/dev/null",
            ])
            .args(["--write-out", "%{http_code}", "--unix-socket"])
            .arg(proxy.socket())
            .arg("http://localhost/cm/consents/1")
            .output();
        String::from_utf8(asked.unwrap().stdout).unwrap()
    };
    assert_eq!(ask(("root", 0)), "200");
    assert_eq!(ask(FRONT_END), "403");
}

/// Each process says so itself, where the users cannot be had.
#[test]
fn a_user_that_cannot_be_had_is_refused_by_name() {
    let (mut bank, _hub) = scene();
    give_users(&mut bank);
    let text = fs::read_to_string(bank.config_path()).unwrap();
    for (from, to, told) in [
        (
            "user = \"daemon\"",
            "user = \"no-such-user\"",
            "`user` of [signer] is \"no-such-user\": /etc/passwd does not list it",
        ),
        (
            "user = \"bin\"",
            "user = \"root\"",
            "`user` of [proxy] is \"root\": that is root",
        ),
        (
            "user = \"bin\"",
            "user = \"12\"",
            "the name of a user in /etc/passwd",
        ),
        (
            "user = \"bin\"",
            "user = \"\"",
            "the name of a user in /etc/passwd",
        ),
    ] {
        bank.write("bank.toml", &text.replace(from, to));
        for command in [&["proxy"][..], &["config", "check"]] {
            let refused = bank.run(command).expect(2);
            let said: Vec<_> = refused.stderr.split_whitespace().collect();
            assert!(
                said.join(" ").contains(told),
                "{to} {command:?}: {refused:?}"
            );
        }
    }
    // Who is not root cannot become another; and a command of root would leave files that the signer cannot read.
    bank.write("bank.toml", &text);
    let refused = bank.run(&["token", "list"]).expect(2);
    assert!(
        refused.stderr.contains("runuser -u daemon -- hsm-mtls"),
        "{refused:?}"
    );
    let as_signer = |command: &str| {
        // Nothing but its owner is in the way of the signer's user.
        chown(bank.config_path(), Some(0), Some(SIGNER.1)).unwrap();
        mode(&bank.config_path(), 0o640);
        let id = SIGNER.1.to_string();
        let program = copy_of_the_program(&bank);
        let run = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(program)
            .arg("--config")
            .arg(bank.config_path())
            .args(command.split(' '))
            .output();
        run.unwrap()
    };
    let checked = as_signer("token check");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{checked:?}");
    let said: Vec<_> = said.split_whitespace().collect();
    let told = "signer daemon, front end bin, where root starts the proxy";
    assert!(said.join(" ").contains(told), "{said:?}");
    let refused = as_signer("proxy");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let said: Vec<_> = said.split_whitespace().collect();
    let told = "`user` of [proxy] is \"bin\": this process is user daemon, and only root can become another";
    assert!(said.join(" ").contains(told), "{said:?}");
}

/// The signer of a command of root is that user too: what it writes, the proxy's can read.
#[test]
fn the_signer_of_a_command_has_its_user() {
    let (mut bank, _hub) = scene();
    let ports = give_users(&mut bank);
    let answer = bank.run(&["request", "GET", "cm:/consents/1"]).expect(0);
    assert!(!answer.stdout.is_empty(), "{answer:?}");
    let state = fs::read_dir(bank.path("state")).unwrap().flatten();
    let made: Vec<_> = state.map(|entry| entry.metadata().unwrap().uid()).collect();
    assert!(
        !made.is_empty() && made.iter().all(|uid| *uid == SIGNER.1),
        "{made:?}"
    );
    assert_eq!(fs::metadata(ledger(&bank)).unwrap().uid(), SIGNER.1);
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 200, "{}", proxy.log());
}

/// Where another user than root can run it.
fn copy_of_the_program(bank: &Bank) -> PathBuf {
    let copy = bank.path("hsm-mtls");
    if !copy.exists() {
        fs::copy(BINARY.unwrap(), &copy).unwrap();
        mode(&copy, 0o755);
    }
    copy
}
