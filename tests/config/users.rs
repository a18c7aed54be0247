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
        | PathRole::ProxyAnchors
        | PathRole::Attestation => &[],
        PathRole::ProxyCredentials
        | PathRole::Certificate
        | PathRole::Sig4Certificate
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
    // Folders of root's that the configuration does not name are not given away by a command.
    set_mode(files.folder.path(), 0o755);
    chown(files.path("log"), Some(FRONT_END.1), None).unwrap();
    set_mode(&files.path("syslog/log"), 0o666);
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
        let command = said
            .split('`')
            .rev()
            .find(|part| part.starts_with("ch") || part.starts_with("install"));
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
        ("tls/c3.pem", SIGNER.0),
        ("state/memory", SIGNER.0),
        ("work", SIGNER.0),
        ("work/vendor.cfg", SIGNER.0),
        ("conf/softhsm2.conf", SIGNER.0),
        ("sandbox/read", SIGNER.0),
        ("syslog/log", SIGNER.0),
        ("evidence/attestation", SIGNER.0),
        ("records/ledger.jsonl", SIGNER.0),
        ("trust/anchors.pem", FRONT_END.0),
        ("callers/token", FRONT_END.0),
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
    with_users(&files, VARIANTS[1]);
    for name in ["pin-program/give", "head-program/tell"] {
        set_mode(&files.path(name), 0o755);
    }
    mend(&files);
    for (name, verb) in [
        ("pin-program/give", "run"),
        ("pin-argument/secret", "read"),
        ("head-program/tell", "run"),
        ("head-argument/where", "read"),
    ] {
        let path = files.path(name);
        // That it can be read makes no program of it.
        root_only(&path);
        if verb == "run" {
            set_mode(&path, 0o744);
        }
        let (code, said) = check(&files);
        assert_eq!(code, Some(2), "{name}: {said}");
        let told = format!("cannot be {verb} by user {}", SIGNER.0);
        assert!(said.contains(&told), "{name}: {said}");
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

/// Such a folder may be the system's: /var/lib, /var/log, /root.
#[test]
fn no_command_gives_away_a_folder_of_root_that_is_not_named() {
    let files = NamedFiles::new();
    with_users(&files, VARIANTS[0]);
    mend(&files);
    let text = fs::read_to_string(files.path("bank.toml")).unwrap();
    let owner = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    let system = files.path("system");
    for name in ["", "closed"] {
        fs::create_dir(system.join(name)).unwrap();
    }
    set_mode(&system.join("closed"), 0o700);
    let before = (owner(&system), owner(&system.join("closed")));
    for (from, to, advice, made) in [
        (
            "\"state/memory\"",
            "system/bank",
            "install -d -o daemon -m 700 {system}/bank`",
            Some(("system/bank", SIGNER.1)),
        ),
        (
            "\"records/ledger.jsonl\"",
            "system/records/l.jsonl",
            "install -d -o daemon -m 700 {system}/records`",
            Some(("system/records", SIGNER.1)),
        ),
        (
            "\"records/ledger.jsonl\"",
            "system/l.jsonl",
            "the ledger needs a folder of its own: `install -d -o daemon -m 700 {system}/hsm-mtls`, and file = \"{system}/hsm-mtls/l.jsonl\" in [ledger]",
            None,
        ),
        (
            "\"log/access.jsonl\"",
            "system/log/a.jsonl",
            "install -d -o bin -m 700 {system}/log`",
            Some(("system/log", FRONT_END.1)),
        ),
        (
            "\"log/access.jsonl\"",
            "system/a.jsonl",
            "the access log needs a folder of its own: `install -d -o bin -m 700 {system}/hsm-mtls-front-end`, and access_log = \"{system}/hsm-mtls-front-end/a.jsonl\" in [proxy]",
            None,
        ),
        (
            "\"state/memory\"",
            "system/closed/bank",
            "{system}/closed is root's: let the group of daemon enter it",
            None,
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(
            files.path("bank.toml"),
            text.replace(from, &format!("\"{to}\"")),
        )
        .unwrap();
        let (code, said) = check(&files);
        assert_eq!(code, Some(2), "{to}: {said}");
        let advice = advice.replace("{system}", &system.display().to_string());
        assert!(said.contains(&advice), "{to}: {advice}\n{said}");
        assert!(
            !said.contains("chown") && !said.contains("chmod"),
            "{to}: {said}"
        );
        if let Some((folder, uid)) = made {
            assert_eq!(mend(&files).len(), 1, "{to}");
            assert_eq!(owner(&files.path(folder)), (uid, 0, 0o700), "{to}");
        }
        assert_eq!(
            (owner(&system), owner(&system.join("closed"))),
            before,
            "{to}"
        );
    }
    // The default would be another folder for each user.
    let without = text.replace("state_dir = \"state/memory\"\n", "");
    fs::write(files.path("bank.toml"), without).unwrap();
    for command in [&["config", "check"][..], &["proxy"]] {
        let done = files.run(command);
        let said = unwrapped(&String::from_utf8(done.stderr).unwrap());
        assert_eq!(done.status.code(), Some(2), "{said}");
        for told in [
            "`user` of [signer] is \"daemon\": then `state_dir` of [[token]] has to be set",
            "`install -d -o daemon -m 700 /var/lib/hsm-mtls`",
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
}
