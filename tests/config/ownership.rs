//! Every path of the configuration that decides something is safe from other users, or the configuration is refused. The
//! refusal names path, owner, mode and the command that mends it.
//!
//! The paths are those of `Config::named_paths`, which a new field cannot be left out of: it takes each section apart. And
//! each role has to occur here, or this file does not compile.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use crate::named_files::{NOBODY, NamedFiles, VARIANTS, set_mode, unwrapped};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::{Extent, NamedPath, PathRole};
use hsm_mtls::internal::owner_and_mode::Protection;

/// A new role does not compile here before it has a number, and then has to occur in a configuration above.
fn number(role: &PathRole) -> usize {
    match role {
        PathRole::Configuration => 0,
        PathRole::Certificate => 1,
        PathRole::Anchors => 2,
        PathRole::Crl => 3,
        PathRole::Module => 4,
        PathRole::PinFile => 5,
        PathRole::PinCredential => 6,
        PathRole::PinProgram => 7,
        PathRole::PinArgument => 8,
        PathRole::StateDir => 9,
        PathRole::WorkingDir => 10,
        PathRole::WorkingDirFile => 11,
        PathRole::ModuleVariable(_) => 12,
        PathRole::SignerFolder => 13,
        PathRole::Ledger => 14,
        PathRole::HeadSocket => 15,
        PathRole::HeadProgram => 16,
        PathRole::HeadArgument => 17,
        PathRole::AccessLog => 18,
        PathRole::Socket => 19,
        PathRole::CallerToken => 20,
        PathRole::Attestation => 21,
        PathRole::Sig4Certificate => 22,
        PathRole::ProxyCredentials => 23,
        PathRole::ProxyAnchors => 24,
    }
}

/// What the link has to be for another user to choose what is opened: the path itself, or the folder of a socket.
fn linked(named: &NamedPath) -> &Path {
    match named.protection {
        Some(Protection::Socket) => named.path.parent().unwrap(),
        _ => &named.path,
    }
}

#[test]
fn each_path_that_others_could_change_is_refused_until_it_is_mended() {
    let files = NamedFiles::new();
    let (theirs, real) = (files.path("theirs"), files.path("moved/real"));
    for folder in [&theirs, &files.path("moved")] {
        fs::create_dir(folder).unwrap();
    }
    let mut seen = [false; 25];
    for variant in VARIANTS {
        files.configure(variant);
        files.accepted();
        let config = Config::load(&files.path("bank.toml")).unwrap();
        let mut all = config.named_paths();
        if variant.0.contains("credential") {
            // This process has no credentials.
            all.push(NamedPath {
                path: files.path("credentials/hsm-pin"),
                role: PathRole::PinCredential,
                extent: Extent::File,
                protection: Some(Protection::Credential),
            });
        }
        for named in all {
            let (path, role) = (&named.path, &named.role);
            seen[number(role)] = true;
            if !path.starts_with(files.folder.path()) {
                assert_eq!(path, Path::new("/dev/log"), "{role}");
                continue;
            }
            let protection = named.protection.unwrap_or_else(|| panic!("{role}"));
            let judged_itself = !matches!(protection, Protection::Place | Protection::Socket);
            if judged_itself {
                let good = fs::metadata(path).unwrap().mode() & 0o7777;
                set_mode(path, good | 0o002);
                files.refused_then_mended(&format!("{role}: world-writable"), path);
                set_mode(path, good);
                chown(path, Some(NOBODY), None).unwrap();
                files.refused_then_mended(&format!("{role}: another user's"), path);
            }
            if matches!(protection, Protection::Secret | Protection::Credential) {
                set_mode(path, 0o604);
                files.refused_then_mended(&format!("{role}: readable"), path);
                set_mode(path, 0o600);
            }
            let folder = path.parent().unwrap();
            chown(folder, Some(NOBODY), None).unwrap();
            files.refused_then_mended(&format!("{role}: another user's folder"), folder);

            // The path is a link of ours to one in another user's folder, which leads to what was there.
            let path = linked(&named);
            fs::rename(path, &real).unwrap();
            symlink(&real, theirs.join("link")).unwrap();
            symlink(theirs.join("link"), path).unwrap();
            chown(&theirs, Some(NOBODY), None).unwrap();
            files.refused_then_mended(&format!("{role}: a link through theirs"), &theirs);
            fs::remove_file(path).unwrap();
            fs::remove_file(theirs.join("link")).unwrap();
            fs::rename(&real, path).unwrap();
            files.accepted();
        }
    }
    assert!(
        seen.iter().all(|seen| *seen),
        "a role that no file has: {seen:?}"
    );
}

/// By their names and not by those that the configuration lists: the second key's are not left out there.
#[test]
fn the_paths_of_the_second_key_are_judged_as_those_of_the_first() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[0]);
    let others_may_read = files.path("pin-file-of-sig4/pin");
    set_mode(&others_may_read, 0o604);
    files.refused_then_mended("a PIN that others read", &others_may_read);
    for name in [
        "tls-of-sig4/sig4.pem",
        "module-of-sig4/libmodule.so",
        "pin-file-of-sig4/pin",
        "state-of-sig4/memory",
    ] {
        let path = files.path(name);
        let good = fs::metadata(&path).unwrap().mode() & 0o7777;
        set_mode(&path, good | 0o002);
        files.refused_then_mended(name, &path);
        let folder = path.parent().unwrap();
        chown(folder, Some(NOBODY), None).unwrap();
        files.refused_then_mended(name, folder);
    }
}

#[test]
fn a_path_that_is_not_there_yet_is_judged_by_the_folder_it_would_be_made_in() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[0]);
    for name in [
        "tls",
        "tls-of-sig4",
        "state",
        "state-of-sig4",
        "log",
        "records",
        "revoked",
        "sockets",
    ] {
        let folder = files.path(name);
        fs::remove_dir_all(&folder).unwrap();
        files.accepted();
        fs::create_dir(&folder).unwrap();
        // The sticky bit does not keep others from making what is missing.
        set_mode(&folder, 0o1777);
        files.refused_then_mended(name, &folder);
    }
}

/// All that is wrong is said at once, and one command mends it.
#[test]
fn several_faults_are_one_refusal() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[1]);
    set_mode(&files.path("bank.toml"), 0o666);
    set_mode(&files.path("pin-program/give"), 0o777);
    chown(files.path("trust"), Some(NOBODY), None).unwrap();
    chown(files.path("log"), Some(NOBODY), None).unwrap();
    set_mode(&files.path("log"), 0o757);
    files.refused_then_mended("several", &files.path("bank.toml"));
}

/// Row 3: what another user could change is not run, by none of the commands.
#[test]
fn no_command_runs_what_another_user_could_change() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[1]);
    let ran = files.path("ran");
    let program = files.path("pin-program/give");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    for (path, mode) in [("pin-program/give", 0o777), ("bank.toml", 0o666)] {
        set_mode(&program, 0o755);
        set_mode(&files.path(path), mode);
        for arguments in [
            &["config", "check"][..],
            &["token", "check"],
            &["token", "list"],
            &["key", "list"],
            &["verify"],
            &["request", "GET", "https://localhost:1/"],
            &["proxy"],
        ] {
            let done = files.run(arguments);
            let stderr = unwrapped(&String::from_utf8_lossy(&done.stderr));
            assert_eq!(done.status.code(), Some(2), "{arguments:?}: {stderr}");
            assert!(stderr.contains("not safe from other users"), "{stderr}");
        }
        files.run(&["audit"]);
        assert!(!ran.exists(), "{path}");
    }
}

/// A link counts with its own owner; a folder of another user is not made safe by its sticky bit.
#[test]
fn links_and_sticky_folders_of_another_user_are_faults() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[0]);
    let link = files.path("tls/link");
    fs::rename(files.path("tls/c3.pem"), &link).unwrap();
    symlink(&link, files.path("tls/c3.pem")).unwrap();
    files.accepted();
    lchown(files.path("tls/c3.pem"), Some(NOBODY), None).unwrap();
    let done = files.run(&["config", "check"]);
    let stderr = unwrapped(&String::from_utf8_lossy(&done.stderr));
    let path = files.path("tls/c3.pem");
    let told = format!(
        "the link {} (nobody:root) belongs to another user",
        path.display()
    );
    assert!(stderr.contains(&told), "{stderr}");
    assert!(
        stderr.contains(&format!("`chown -h root {}`", path.display())),
        "{stderr}"
    );
    // It may be root who is wrong here.
    assert!(stderr.contains("run this as user nobody"), "{stderr}");
    lchown(&path, Some(0), None).unwrap();
    chown(files.path("trust"), Some(NOBODY), None).unwrap();
    set_mode(&files.path("trust"), 0o1755);
    files.refused_then_mended("sticky", &files.path("trust"));
}

/// With a umask of 002, all that a user makes may be written to by the private group, in which nobody else is. The group of
/// `nobody` has other users.
#[test]
fn a_private_group_is_nobody_else() {
    const WWW_DATA: u32 = 33;
    const ADM: u32 = 4;
    let files = NamedFiles::new();
    files.configure(VARIANTS[0]);
    let checked_by = |user: u32, group: u32| {
        let all = Command::new("chown")
            .arg("-R")
            .arg(format!("{user}:{group}"))
            .arg(files.folder.path())
            .status();
        assert!(all.unwrap().success());
        let names = [
            "bank.toml",
            "trust/anchors.pem",
            "trust",
            "state",
            "state/memory",
        ];
        names
            .iter()
            .for_each(|name| set_mode(&files.path(name), 0o775));
        let done = Command::new("setpriv")
            .args([
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ])
            .arg(env!("CARGO_BIN_EXE_hsm-mtls"))
            .args(["config", "check"])
            .arg(files.path("bank.toml"))
            .output()
            .unwrap();
        (
            done.status.code(),
            unwrapped(&String::from_utf8_lossy(&done.stderr)),
        )
    };
    assert_eq!(checked_by(WWW_DATA, WWW_DATA), (Some(0), String::new()));
    for (user, group) in [(WWW_DATA, ADM), (NOBODY, NOBODY), (0, 0)] {
        let (code, stderr) = checked_by(user, group);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains("mode 0775): its group may write to it"),
            "{stderr}"
        );
    }
}

/// In some distributions the log daemon's group may write to /var/log. A service's own folder in it is accepted, a file is not.
#[test]
fn a_group_may_write_to_the_folder_of_all_logs() {
    let files = NamedFiles::new();
    files.configure(VARIANTS[0]);
    let text = fs::read_to_string(files.path("bank.toml")).unwrap();
    let checked = |ledger: &str, mode: &str| {
        let named = text.replace("records/ledger.jsonl", ledger);
        fs::write(files.path("bank.toml"), named).unwrap();
        let script = format!(
            "mount -t tmpfs -o mode={mode},gid=4 tmpfs /var/log && mkdir /var/log/bank && exec \"$@\""
        );
        let done = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(env!("CARGO_BIN_EXE_hsm-mtls"))
            .args(["config", "check"])
            .arg(files.path("bank.toml"))
            .output()
            .unwrap();
        let stderr = unwrapped(&String::from_utf8_lossy(&done.stderr));
        (done.status.code(), stderr)
    };
    for ledger in ["/var/log/bank/ledger.jsonl", "/var/log/new/ledger.jsonl"] {
        assert_eq!(
            checked(ledger, "0775"),
            (Some(0), String::new()),
            "{ledger}"
        );
    }
    for (ledger, mode) in [
        ("/var/log/ledger.jsonl", "0775"),
        ("/var/log/bank/ledger.jsonl", "0777"),
    ] {
        let (code, stderr) = checked(ledger, mode);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains("the folder /var/log (root:adm, mode 077"),
            "{stderr}"
        );
    }
}
