//! The processes of the proxy: each that ends is started again, and only the signer has module, PIN and what leads to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::procfs::{children, launched, maps, memory_holds, state};
use crate::common::proxy::Proxy;
use crate::common::signer_process::signers;
use crate::common::softhsm::PIN;

fn scene() -> (Bank, Hub, Proxy) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

fn kill(pid: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

fn hang_up(pid: u32) {
    let sent = Command::new("kill")
        .args(["-HUP", &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_front_end_has_neither_module_nor_pin() {
    let (bank, _hub, proxy) = scene();
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let front_end = proxy.front_end().unwrap();
    let signer = signers(&bank)[0];
    assert!(maps(signer).contains("libsofthsm2.so") && memory_holds(signer, PIN.as_bytes()));
    for pid in [front_end, proxy.pid()] {
        assert!(!maps(pid).contains("softhsm"), "{}", maps(pid));
        assert!(!memory_holds(pid, PIN.as_bytes()));
    }
}

/// A number of /proc/PID/status.
fn status(pid: u32, name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.strip_prefix(':'));
    number.unwrap().trim().parse().unwrap()
}

/// What parses the network or tells the others what to do is filtered; a vendor's module is not.
#[test]
fn supervisor_and_front_end_are_under_filters_of_system_calls() {
    let (bank, _hub, proxy) = scene();
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    // A container may have put all of us under some.
    let ours = status(std::process::id(), "Seccomp_filters");
    let (signer, launcher) = (signers(&bank)[0], children(proxy.pid())[0]);
    let front_end = proxy.front_end().unwrap();
    for (name, pid, more) in [
        ("supervisor", proxy.pid(), 2),
        ("front end", front_end, 2),
        ("launcher", launcher, 0),
        ("signer", signer, 0),
    ] {
        assert_eq!(status(pid, "Seccomp_filters"), ours + more, "{name}");
        assert_eq!(status(pid, "NoNewPrivs"), 1, "{name}");
    }
}

/// What leads to the PIN, and what is recorded of the key, is no business of the processes that live beside the signer.
#[test]
fn only_the_signer_is_given_token_records_and_comments() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let program = bank.write("pin.sh", "#!/bin/sh\nprintf '%s' \"$(cat \"$2\")\"\n");
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    let markers = [
        "argument-of-the-program",
        "value-of-a-variable",
        "folder-of-attempts",
        "file-of-the-ledger",
        "backup-of-the-key",
        "text-of-a-comment",
    ];
    bank.configure(|settings| {
        let pin_file = settings.pin.split('"').nth(1).unwrap().to_owned();
        settings.pin = format!(
            "{{ command = [\"{}\", \"argument-of-the-program\", \"{}\"] }}",
            program.display(),
            pin_file
        );
        settings.env = vec![("VAULT_TOKEN".to_owned(), "value-of-a-variable".to_owned())];
        settings.token_lines = "# text-of-a-comment".to_owned();
        settings.state_dir = settings.state_dir.clone() + "/folder-of-attempts";
    });
    let records = tempfile::tempdir().unwrap();
    let sections = format!(
        "[ledger]\nfile = \"{}/file-of-the-ledger.jsonl\"\n[audit]\nbackup = \"backup-of-the-key\"\n",
        records.path().display()
    );
    let ports = Proxy::configure(&mut bank, "", &sections);
    let text = fs::read_to_string(bank.config_path()).unwrap();
    for marker in markers {
        assert!(text.contains(marker), "{marker}: {text}");
    }
    let proxy = Proxy::start(&bank, ports);
    let check = |when: &str| {
        assert_eq!(proxy.get("/cm/consents/1").0, 200, "{when}");
        let front_end = proxy.front_end().unwrap();
        assert!(
            memory_holds(front_end, b"localhost"),
            "{when}: it is looked at rightly"
        );
        let launcher = children(proxy.pid())[0];
        for marker in markers {
            for (name, pid) in [
                ("front end", front_end),
                ("supervisor", proxy.pid()),
                ("launcher", launcher),
            ] {
                assert!(
                    !memory_holds(pid, marker.as_bytes()),
                    "{when}, {name}: {marker}"
                );
            }
        }
        let signer = signers(&bank)[0];
        for marker in ["argument-of-the-program", "value-of-a-variable"] {
            assert!(
                memory_holds(signer, marker.as_bytes()),
                "{when}: the signer is told of {marker}"
            );
        }
        front_end
    };
    let first = check("at the start");
    let signer = signers(&bank)[0];
    hang_up(proxy.pid());
    until("the reload is over", || {
        signers(&bank).iter().all(|pid| *pid != signer)
    });
    assert_eq!(check("after a reload"), first);
    kill(first);
    until("another front end", || {
        proxy.front_end().is_some_and(|pid| pid != first)
    });
    assert_ne!(check("after a crash"), first);
}

/// What the filter refuses is in tests/signer, call by call.
#[test]
fn each_thread_of_the_front_end_is_under_the_filter_and_after_a_crash_again() {
    let (_bank, _hub, proxy) = scene();
    let count = |of: &str, name: &str| -> u32 {
        let status = fs::read_to_string(format!("/proc/{of}/status")).unwrap();
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(found, _)| *found == name);
        values.next().unwrap().1.trim().parse().unwrap()
    };
    // This test may run under filters itself.
    let inherited = count("self", "Seccomp_filters");
    let check = || {
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
        let front_end = proxy.front_end().unwrap();
        let threads = fs::read_dir(format!("/proc/{front_end}/task")).unwrap();
        let threads: Vec<_> = threads
            .map(|thread| thread.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(threads.len() > 2, "{threads:?}");
        for thread in threads {
            let thread = format!("{front_end}/task/{thread}");
            assert_eq!(count(&thread, "Seccomp"), 2, "a list of its own");
            // The list, and what is said to clone3.
            assert_eq!(count(&thread, "Seccomp_filters"), inherited + 2);
            assert_eq!(count(&thread, "NoNewPrivs"), 1);
        }
        front_end
    };
    let first = check();
    kill(first);
    assert_ne!(check(), first);
}

#[test]
fn a_front_end_that_is_killed_is_started_again_and_who_calls_meanwhile_waits() {
    let (bank, _hub, proxy) = scene();
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let (front_end, signer) = (proxy.front_end().unwrap(), signers(&bank)[0]);
    kill(front_end);
    // The socket is the supervisor's: it was never gone.
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let now = signers(&bank);
    assert_eq!(now.len(), 1, "one signer");
    assert_ne!(now[0], signer, "and it is the new front end's");
}

#[test]
fn a_signer_that_is_killed_is_noticed_by_nobody_on_a_warm_connection() {
    let (bank, hub, proxy) = scene();
    proxy.warm("cm", 2);
    let signer = signers(&bank)[0];
    kill(signer);
    let before = hub.connections().len();
    for _ in 0..20 {
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
    }
    assert!(hub.connections().len() <= before + 2);
    until("another signer is there", || {
        signers(&bank).iter().any(|pid| *pid != signer)
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_all_with_it() {
    let (bank, _hub, proxy) = scene();
    let all = [children(proxy.pid()), launched(proxy.pid())].concat();
    assert_eq!(all.len(), 3);
    kill(proxy.pid());
    until("all are gone", || {
        all.iter()
            .all(|pid| state(*pid).is_none_or(|state| state == 'Z'))
    });
    drop(bank);
}

/// Whoever restarts services does so with this one too: without the launcher no process could be started again.
#[test]
fn a_launcher_that_is_killed_takes_all_with_it() {
    let (bank, _hub, proxy) = scene();
    let all = launched(proxy.pid());
    assert_eq!(all.len(), 2);
    kill(children(proxy.pid())[0]);
    until("it is said", || {
        proxy.log().contains("the process launcher has ended")
    });
    let ended = proxy.ended();
    assert_eq!(ended.code(), Some(3), "{ended}");
    until("all are gone", || {
        all.iter()
            .all(|pid| state(*pid).is_none_or(|state| state == 'Z'))
    });
    drop(bank);
}

/// A front end that hangs, or that was taken over and does not listen to signals, keeps nobody from stopping the proxy.
#[test]
fn a_front_end_that_does_not_stop_is_killed() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "stop_timeout = \"1s\"", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let front_end = proxy.front_end().unwrap();
    let stopped = Command::new("kill")
        .args(["-STOP", &front_end.to_string()])
        .status();
    assert!(stopped.unwrap().success());
    proxy.signal("TERM");
    let ended = proxy.ended();
    assert!(ended.success(), "{ended}");
    until("it is gone", || {
        state(front_end).is_none_or(|state| state == 'Z')
    });
}

/// Sent by habit, to have logs opened anew or statistics printed.
#[test]
fn an_unused_signal_ends_no_process() {
    let (bank, _hub, proxy) = scene();
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let (signer, front_end) = (signers(&bank), proxy.front_end());
    let all = [&signer[..], &[front_end.unwrap(), proxy.pid()]].concat();
    for signal in ["-USR1", "-USR2", "-ALRM", "-VTALRM", "-IO"] {
        for pid in &all {
            let sent = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status();
            assert!(sent.unwrap().success());
        }
    }
    until("the log says what reloads", || {
        let log = proxy.log();
        log.contains("SIGUSR1 does nothing here; SIGHUP reloads") && log.contains("SIGUSR2 does")
    });
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(signers(&bank), signer);
    assert_eq!(proxy.front_end(), front_end);
}
