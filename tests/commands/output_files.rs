//! No command overwrites a file that is in use: every command that writes a file, every path that a configuration
//! names, every spelling of it. A file elsewhere is written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::bank::{BINARY, Bank};

/// Every command that writes a file, but for `cert install`, whose file is the configured one.
const WRITERS: [&[&str]; 4] = [
    &["csr", "--output"],
    &["audit", "--html"],
    &["verify", "--evidence"],
    &["request", "GET", "cm:/consents/1", "--output"],
];

fn all_files(folder: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            found.extend(all_files(&path));
        } else if about.is_file() {
            found.insert(path.clone(), (about.ino(), fs::read(&path).unwrap()));
        }
    }
    found
}

/// A bank whose configuration names a file for everything that it can, with the role of each. Its token is not
/// there: whoever asks for it before the file is looked at ends with 3.
fn bank_of_many_files() -> (Bank, Vec<(&'static str, PathBuf)>) {
    let mut bank = Bank::new();
    for name in [
        "c3.pem",
        "issuer.crl",
        "tell-head",
        "give-pin",
        "ledger.jsonl",
        "ledger.jsonl.000000000001",
    ] {
        bank.write(name, name);
    }
    for name in [
        "log/access.jsonl",
        "log/access.jsonl.1",
        "caller",
        "attestation",
        "module.conf",
        "c3.pem.replaced-1",
    ] {
        bank.write(name, name);
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(bank.path("caller"), private).unwrap();
    for folder in ["state", "vendor/deep"] {
        fs::create_dir_all(bank.path(folder)).unwrap();
    }
    bank.write("state/pin-0123.json", "{}");
    bank.write("vendor/deep/keys", "keys");
    let module = bank.path("module.so");
    fs::copy(bank.module(), &module).unwrap();
    let folder = bank.folder().display().to_string();
    bank.configure(|settings| {
        settings.module = module;
        settings.token_uri = "pkcs11:token=nowhere".to_owned();
        settings.pin = format!("{{ command = [\"/bin/cat\", \"{folder}/give-pin\"] }}");
        settings.trust_lines = "crls = [\"issuer.crl\"]".to_owned();
        settings.token_lines = String::new();
        settings.sections = format!(
            "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\nhead = {{ command = [\"{folder}/tell-head\"] }}\n\
             [proxy]\naccess_log = \"log/access.jsonl\"\n\
             [[proxy.listener]]\ntcp = \"127.0.0.1:8080\"\ncallers = {{ token_file = \"caller\" }}\n\
             [[proxy.listener]]\nunix = \"hub.sock\"\n\
             [audit]\nattestation = \"attestation\"\n"
        );
    });
    // Beside the one that each bank has.
    let text = fs::read_to_string(bank.config_path()).unwrap();
    let more = format!(
        "[token.env]\nVENDOR_CONF = \"{folder}/module.conf\"\nVENDOR_HOME = \"{folder}/vendor\"\n"
    );
    bank.write("bank.toml", &text.replace("[token.env]\n", &more));
    let named = [
        ("the configuration file", "bank.toml"),
        ("the certificate of [c3]", "c3.pem"),
        ("the certificate of [c3]", "c3.pem.replaced-1"),
        ("`anchors` of [trust]", "anchors.pem"),
        ("one of `crls` of [trust]", "issuer.crl"),
        ("the module", "module.so"),
        ("what `command` of `pin` names", "give-pin"),
        ("`state_dir`", "state/pin-0123.json"),
        ("VENDOR_CONF", "module.conf"),
        ("VENDOR_HOME", "vendor/deep/keys"),
        ("the ledger", "ledger.jsonl"),
        ("the ledger", "ledger.jsonl.000000000001"),
        ("`head` of [ledger]", "tell-head"),
        ("the access log", "log/access.jsonl"),
        ("the access log", "log/access.jsonl.1"),
        ("a caller's token", "caller"),
        ("`attestation` of [audit]", "attestation"),
    ];
    let named = named.map(|(role, name)| (role, bank.path(name)));
    (bank, named.to_vec())
}

fn refused(bank: &Bank, writer: &[&str], path: &Path, force: bool, role: &str) {
    let mut arguments = [writer, &[path.to_str().unwrap()]].concat();
    arguments.extend(force.then_some("--force"));
    let run = bank.run(&arguments);
    let told = run.stderr.contains("cannot be kept in") && run.stderr.contains(role);
    assert!(
        run.code == 2 && told && run.stdout.is_empty(),
        "{role}, {arguments:?}: {run:?}"
    );
}

#[test]
fn what_the_configuration_names_is_never_written_over() {
    let (bank, named) = bank_of_many_files();
    let before = all_files(bank.folder());
    for writer in WRITERS {
        for (role, path) in &named {
            refused(&bank, writer, path, true, role);
        }
    }
    assert!(
        before == all_files(bank.folder()),
        "something was changed, or left there"
    );
}

#[test]
fn a_file_is_known_by_what_it_is_and_not_by_its_spelling() {
    let (bank, named) = bank_of_many_files();
    let aside = tempfile::tempdir().unwrap();
    symlink(bank.folder(), aside.path().join("folder")).unwrap();
    let before = all_files(bank.folder());
    for (number, (role, path)) in named.iter().enumerate() {
        let within = path.strip_prefix(bank.folder()).unwrap();
        let link = aside.path().join(format!("link{number}"));
        symlink(path, &link).unwrap();
        let of_link = aside.path().join(format!("link-of-link{number}"));
        symlink(link.file_name().unwrap(), &of_link).unwrap();
        let mut spellings = vec![
            bank.folder().join("vendor/deep/../../").join(within),
            bank.folder().join("./").join(within),
            aside.path().join("folder").join(within),
            link,
            of_link,
        ];
        // Another name of the file itself, where it lies in no folder that is protected as a whole.
        let hard = aside.path().join(format!("hard{number}"));
        if fs::hard_link(path, &hard).is_ok()
            && !within.starts_with("vendor")
            && !within.starts_with("state")
        {
            spellings.push(hard);
        }
        for spelling in spellings {
            refused(&bank, WRITERS[0], &spelling, true, role);
        }
    }
    assert!(before == all_files(bank.folder()));
}

/// The certificate is not installed yet, the ledger not begun, the proxy not started.
#[test]
fn a_configured_path_is_not_written_before_its_file_exists() {
    let (bank, _) = bank_of_many_files();
    fs::remove_file(bank.path("c3.pem")).unwrap();
    symlink("store/leaf.pem", bank.path("c3.pem")).unwrap();
    fs::create_dir(bank.path("store")).unwrap();
    fs::remove_file(bank.path("ledger.jsonl")).unwrap();
    let places = [
        ("the certificate of [c3]", "c3.pem"),
        ("the certificate of [c3]", "vendor/../store/leaf.pem"),
        ("the ledger", "ledger.jsonl"),
        ("the ledger", "ledger.jsonl.000000000200"),
        ("a socket of [proxy]", "hub.sock"),
    ];
    for (role, place) in places {
        for force in [true, false] {
            refused(&bank, WRITERS[0], &bank.path(place), force, role);
        }
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_where_that_is_said() {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let file = bank.path("c3.csr");
    fs::write(&file, "precious").unwrap();
    let link = bank.path("link.csr");
    symlink(&file, &link).unwrap();
    for writer in WRITERS {
        refused(&bank, writer, &file, false, "a file is there already");
        refused(&bank, writer, &link, false, "a link is there already");
    }
    let folder = bank.path("folder");
    fs::create_dir(&folder).unwrap();
    refused(&bank, WRITERS[0], &folder, true, "it is a folder");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    // The link is replaced; what it led to stays.
    bank.run(&["csr", "-o", link.to_str().unwrap(), "--force"])
        .expect(0);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    bank.run(&["csr", "-o", file.to_str().unwrap(), "--force"])
        .expect(0);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE REQUEST")
    );
    // A report is for its owner only, whoever could read what was there.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    bank.run(&["audit", "--html", file.to_str().unwrap(), "--force"])
        .expect(1);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
}

#[test]
fn a_failed_write_leaves_no_file() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.token_uri = "pkcs11:token=nowhere".to_owned());
    let old = bank.write("old", "old");
    let before = all_files(bank.folder());
    let new = bank.path("new");
    for (path, more) in [(&new, &[][..]), (&old, &["--force"])] {
        let arguments = [&["csr", "-o", path.to_str().unwrap()], more].concat();
        bank.run(&arguments).expect(3);
    }
    for path in ["no/such/folder/file", "old/file", ""] {
        let path = bank.path(path);
        bank.run(&["csr", "-o", path.to_str().unwrap(), "--force"])
            .expect(2);
    }
    bank.run(&["csr", "-o", ""]).expect(2);
    bank.run(&["csr", "--force"]).expect(2);
    assert!(before == all_files(bank.folder()));
}

/// Runs `csr` in a shell, where `$HSM_MTLS` is the command with its configuration.
fn shell(bank: &Bank, script: &str) -> (i32, String, String) {
    let command = format!(
        "{} --config {}",
        BINARY.unwrap(),
        bank.config_path().display()
    );
    let output = Command::new("bash")
        .args(["-c", script])
        .env("HSM_MTLS", command)
        .current_dir(bank.folder())
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn pipes_and_devices_take_what_is_written_as_anywhere_else() {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let pem = bank.csr();
    let begin = pem.lines().next().unwrap();
    let alone = |text: &str| text.starts_with(begin) && text.trim_end().ends_with("REQUEST-----");
    for script in [
        "$HSM_MTLS csr -o -",
        "$HSM_MTLS csr -o /dev/stdout",
        "$HSM_MTLS csr -o /dev/fd/1",
        "$HSM_MTLS csr -o /dev/stderr 2>&1 >/dev/null",
        "$HSM_MTLS csr -o /dev/fd/7 7>&1 >/dev/null",
        "mkfifo p1; cat p1 & $HSM_MTLS csr -o p1 >/dev/null && wait",
        "$HSM_MTLS csr -o >(cat >sub) >/dev/null; until grep -q END sub; do :; done; cat sub",
        "$HSM_MTLS csr -o /dev/stdout >redirected; cat redirected",
    ] {
        let (code, out, err) = shell(&bank, script);
        assert!(code == 0 && alone(&out), "{script}: {out} {err}");
    }
    // What is appended to is not begun anew.
    let (_, out, _) = shell(
        &bank,
        "echo first >log; $HSM_MTLS csr -o /dev/stdout >>log; cat log",
    );
    assert!(out.starts_with("first\n-----BEGIN"), "{out}");
    let (_, out, _) = shell(
        &bank,
        "echo first >log2; $HSM_MTLS csr -o /dev/fd/8 8>>log2 >/dev/null; cat log2",
    );
    assert!(out.starts_with("first\n-----BEGIN"), "{out}");
    let (code, out, err) = shell(&bank, "$HSM_MTLS csr -o /dev/null");
    assert!(
        code == 0 && out.contains("written to /dev/null") && err.is_empty(),
        "{out} {err}"
    );
    assert!(fs::metadata("/dev/null").unwrap().mode() & 0o777 == 0o666);
    let (code, _, err) = shell(&bank, "$HSM_MTLS csr -o /dev/full");
    assert!(
        code == 2 && err.contains("could not be kept in /dev/full"),
        "{err}"
    );
    // Both on one stream would be neither.
    for script in [
        "csr -o -",
        "audit --html -",
        "verify --evidence /dev/stdout",
    ] {
        let (code, out, err) = shell(&bank, &format!("$HSM_MTLS --json {script}"));
        assert!(
            code == 2 && out.is_empty() && err.contains("both go to standard output"),
            "{script}: {err}"
        );
    }
    let (code, out, _) = shell(&bank, "$HSM_MTLS audit --html -");
    assert!(
        code == 1 && out.starts_with("<!DOCTYPE html>") && out.ends_with("</html>"),
        "{out}"
    );
}
