//! What another user can change is not used by a proxy, neither at its start nor at a reload; and nobody can put a socket in the
//! place of one that applications know.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::signer_process::signers;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;
const RELOADS: &str = "hsm_mtls_proxy_reloads_total";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn served() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    (bank, hub)
}

/// Another user changes the program that gives the PIN: neither SIGHUP nor the next signer runs it.
#[test]
fn a_reload_runs_no_program_that_another_user_can_change() {
    let (mut bank, _hub) = served();
    let ports = Proxy::configure(&mut bank, "", "");
    let (program, ran) = (bank.path("programs/give"), bank.path("ran"));
    let give = format!("#!/bin/sh\ncat '{}'\n", bank.token.pin_file().display());
    bank.write("programs/give", &give);
    mode(&program, 0o755);
    bank.configure(|set| set.pin = format!("{{ command = [\"{}\"] }}", program.display()));
    let proxy = Proxy::start(&bank, ports);

    fs::write(
        &program,
        give.replace("cat", &format!("touch '{}'\ncat", ran.display())),
    )
    .unwrap();
    mode(&program, 0o777);
    proxy.signal("HUP");
    until("a reload fails", || {
        proxy.metric(RELOADS, &[("result", "failed")]) == 1.0
    });
    // The log is written by a thread of its own.
    until("the reason is said", || {
        let why = "give (root:root, mode 0777): everybody may write to it";
        proxy.log().contains(why)
    });
    let [signer] = signers(&bank)[..] else {
        panic!("one signer");
    };
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &signer.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let refusal = "it is not safe from other users: ";
    until("the next signer refuses it", || {
        proxy.log().contains(refusal)
    });
    assert!(!ran.exists());

    mode(&program, 0o755);
    until("the signer after that takes it", || ran.exists());
    proxy.signal("HUP");
    until("a reload is good", || {
        proxy.metric(RELOADS, &[("result", "good")]) == 1.0
    });
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
}

/// Another user could put a socket of his own there while the proxy is down, and would be sent what callers send.
#[test]
fn a_socket_in_a_folder_that_others_can_write_to_is_not_opened() {
    let (mut bank, _hub) = served();
    fs::create_dir(bank.path("run")).unwrap();
    let further = "[[proxy.listener]]\nunix = \"run/theirs.sock\"\n";
    Proxy::configure(&mut bank, "", further);
    let folder = bank.path("run");
    for (owner, bits) in [(0, 0o777), (0, 0o1777), (0, 0o775), (NOBODY, 0o755)] {
        chown(&folder, Some(owner), None).unwrap();
        mode(&folder, bits);
        for command in ["config check", "proxy"] {
            let arguments: Vec<_> = command.split(' ').collect();
            let refused = bank.run(&arguments).expect(2);
            assert!(
                refused.stderr.contains("a socket of [proxy] ("),
                "{refused:?}"
            );
            assert!(!folder.join("theirs.sock").exists());
        }
        let audited = bank.run(&["audit"]);
        let said = audited
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let told = format!("the folder {} (", folder.display());
        assert!(said.contains(&told), "{owner} {bits:o}: {said}");
    }
}
