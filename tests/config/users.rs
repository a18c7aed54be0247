//! With users of their own for signer and front end: whose each file may be, and that both can open what they need. What
//! decides belongs to neither of them, and nothing but the access log to the process that parses the network.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::common::service_users::{FRONT_END, SIGNER};
use crate::named_files::{NamedFiles, VARIANTS, set_mode, unwrapped};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::paths::{Extent, NamedPath, PathRole};
use hsm_mtls::internal::owner_and_mode::Protection;

/// The users beside root whose the files of a role may be.
fn owners(role: &PathRole) -> &'static [u32] {
    match role {
        PathRole::Configuration
        | PathRole::Anchors
        | PathRole::Crl
        | PathRole::Module
        | PathRole::PinProgram
        | PathRole::PinArgument
        | PathRole::HeadSocket
        | PathRole::HeadProgram
        | PathRole::HeadArgument
        | PathRole::Socket
        | PathRole::CallerToken
        | PathRole::Attestation => &[],
        PathRole::Certificate
        | PathRole::PinFile
        | PathRole::PinCredential
        | PathRole::StateDir
        | PathRole::WorkingDir
        | PathRole::WorkingDirFile
        | PathRole::ModuleVariable(_)
        | PathRole::SignerFolder
        | PathRole::Ledger => &[SIGNER.1],
        PathRole::AccessLog => &[FRONT_END.1],
    }
}

fn with_users(files: &NamedFiles, variant: (&str, &str)) {
    files.configure(variant);
    let path = files.path("bank.toml");
    let text = fs::read_to_string(&path).unwrap();
    let signer = format!("[signer]\nuser = \"{}\"\n", SIGNER.0);
    let proxy = format!("[proxy]\nuser = \"{}\"\n", FRONT_END.0);
    let text = text
        .replace("[signer]\n", &signer)
        .replace("[proxy]\n", &proxy);
    fs::write(&path, text).unwrap();
}

fn check(files: &NamedFiles) -> (Option<i32>, String) {
    let done = files.run(&["config", "check"]);
    let said = unwrapped(&String::from_utf8(done.stderr).unwrap());
    (done.status.code(), said)
}

/// Types what each refusal says, until there is none.
fn mend(files: &NamedFiles) -> Vec<String> {
    let mut refusals = Vec::new();
    loop {
        let (code, said) = check(files);
        if code == Some(0) {
            return refusals;
        }
        assert!(refusals.len() < 6, "no end of it: {refusals:#?}\n{said}");
        let command = said.split('`').rev().find(|part| part.starts_with("ch"));
        let command = command.unwrap_or_else(|| panic!("{said}"));
        let typed = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(typed.success(), "{command}");
        refusals.push(said);
    }
}

#[test]
fn each_file_belongs_to_root_or_to_the_process_that_writes_it() {
    let files = NamedFiles::new();
    for variant in VARIANTS {
        with_users(&files, variant);
        mend(&files);
        let config = Config::load(&files.path("bank.toml")).unwrap();
        let mut all = config.named_paths();
        if variant.0.contains("credential") {
            all.push(NamedPath {
                path: files.path("credentials/hsm-pin"),
                role: PathRole::PinCredential,
                extent: Extent::File,
                protection: Some(Protection::Credential),
            });
        }
        for NamedPath {
            path,
            role,
            protection,
            ..
        } in all
        {
            let at = match protection {
                Some(Protection::Place | Protection::Socket) => path.parent().unwrap(),
                _ => &path,
            };
            if !at.starts_with(files.folder.path()) {
                continue;
            }
            let meta = fs::metadata(at).unwrap();
            for user in [SIGNER, FRONT_END] {
                chown(at, Some(user.1), None).unwrap();
                let (code, said) = check(&files);
                let (allowed, name) = (owners(&role).contains(&user.1), user.0);
                assert_eq!(code == Some(0), allowed, "{role} of {name}: {said}");
                let told = format!("{} ({name}:", at.display());
                assert!(allowed || said.contains(&told), "{role}: {said}");
            }
            chown(at, Some(meta.uid()), Some(meta.gid())).unwrap();
        }
    }
}

/// What root can read says nothing of the users whom the processes become.
#[test]
fn a_file_that_its_process_could_not_open_is_named_with_the_command() {
    let files = NamedFiles::new();
    with_users(&files, VARIANTS[0]);
    mend(&files);
    let root_only = |path: &Path| {
        chown(path, Some(0), Some(0)).unwrap();
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        set_mode(path, mode);
    };
    for (name, user) in [
        ("module/libmodule.so", SIGNER.0),
        ("pin-file/pin", SIGNER.0),
        ("pin-file", SIGNER.0),
        ("tls/c3.pem", SIGNER.0),
        ("state/memory", SIGNER.0),
        ("records/ledger.jsonl", SIGNER.0),
        ("trust/anchors.pem", FRONT_END.0),
        ("revoked", FRONT_END.0),
        ("callers/token", FRONT_END.0),
        ("log", FRONT_END.0),
        ("log/access.jsonl", FRONT_END.0),
    ] {
        let path = files.path(name);
        root_only(&path);
        let (code, said) = check(&files);
        assert_eq!(code, Some(2), "{name}: {said}");
        let told = format!("{} (root:root, mode 0", path.display());
        assert!(said.contains(&told), "{name}: {said}");
        assert!(said.contains(&format!("by user {user}")), "{name}: {said}");
        assert_eq!(mend(&files).len(), 1, "{name}");
    }
    // A secret stays one.
    let mode = |name: &str| fs::metadata(files.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("pin-file/pin"), mode("callers/token")),
        (0o600, 0o640)
    );
}

/// A group that is the reader's alone may read root's secret; any other group is somebody else.
#[test]
fn a_secret_of_root_is_read_by_the_readers_own_group() {
    const ADM: u32 = 4;
    let files = NamedFiles::new();
    with_users(&files, VARIANTS[0]);
    mend(&files);
    for (name, reader) in [("pin-file/pin", SIGNER.1), ("callers/token", FRONT_END.1)] {
        let path = files.path(name);
        set_mode(&path, 0o640);
        for (group, accepted) in [(reader, true), (ADM, false), (0, false)] {
            chown(&path, Some(0), Some(group)).unwrap();
            let (code, said) = check(&files);
            assert_eq!(code == Some(0), accepted, "{name} {group}: {said}");
        }
        mend(&files);
        chown(&path, Some(0), Some(reader)).unwrap();
        set_mode(&path, 0o660);
        assert_eq!(check(&files).0, Some(2), "{name}: the group may write");
        mend(&files);
    }
}
