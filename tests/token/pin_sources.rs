//! A PIN's source: a PIN that no keyboard can type is not sent, from whatever source it comes, and each cause has its
//! message. The calls are counted at the module.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::bank::{Bank, Run};
use crate::common::chaos::Chaos;
use crate::common::softhsm::PIN;

fn said(run: &Run, what: &str) {
    assert!(run.stderr.contains(what), "{what}: {run:?}");
}

fn bank() -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "");
    (bank, chaos)
}

fn write(bank: &Bank, bytes: &[u8]) {
    let path = bank.path("source");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// One after the other: a file, a variable, a credential, a program.
const SOURCES: [(&str, &str); 4] = [
    ("{ file = \"source\" }", "file "),
    ("{ env = \"THE_PIN\" }", "environment variable THE_PIN"),
    ("{ credential = \"source\" }", "systemd credential source"),
    (
        "{ command = [\"/bin/cat\", \"<bank>/source\"] }",
        "command /bin/cat",
    ),
];

fn from(bank: &mut Bank, source: &str) {
    let folder = bank.folder().to_str().unwrap().to_owned();
    bank.configure(|settings| settings.pin = source.replace("<bank>", &folder));
}

fn run(bank: &Bank, chaos: &Chaos, bytes: &[u8]) -> Run {
    write(bank, bytes);
    let own = chaos.environment();
    let mut environment: Vec<(&str, &Path)> = own
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    environment.push(("CREDENTIALS_DIRECTORY", bank.folder()));
    // A variable cannot hold a NUL.
    if !bytes.contains(&0) {
        environment.push(("THE_PIN", Path::new(OsStr::from_bytes(bytes))));
    }
    bank.run_with(&["key", "list"], &environment)
}

#[test]
fn what_no_keyboard_gives_is_sent_from_no_source() {
    let (mut bank, chaos) = bank();
    let bad: [(&[u8], &str); 12] = [
        (
            b"\xef\xbb\xbfsesame",
            "a byte order mark (U+FEFF) at its start",
        ),
        (b"\xff\xfes\0e\0s\0", "it is not UTF-8 but UTF-16"),
        (b"ses\xe4me", "it is not UTF-8: byte 4"),
        (b"ses\0ame", "a NUL (U+0000) as character 4"),
        (b"sesame\x07", "a control character at its end"),
        ("ses\u{a0}ame".as_bytes(), "a no-break space as character 4"),
        (
            "sesame\u{200b}".as_bytes(),
            "an invisible character at its end",
        ),
        (
            "\u{201c}sesame\u{201d}".as_bytes(),
            "a typographic quotation mark at its start",
        ),
        (b"sesame\nopen\n", "a line break within the PIN"),
        (b"HSM_PIN=sesame\n", "a setting (NAME=value)"),
        (b"-----BEGIN PRIVATE KEY-----\nsesame\n", "a PEM file"),
        (b"", "it is empty"),
    ];
    for (source, name) in SOURCES {
        from(&mut bank, source);
        for (bytes, what) in bad {
            if source.contains("env") && bytes.contains(&0) {
                continue;
            }
            let refused = run(&bank, &chaos, bytes).expect(4);
            said(&refused, &format!("no PIN from {name}"));
            said(&refused, what);
            assert!(!refused.stderr.contains("sesame"), "{refused:?}");
        }
        for end in ["", "\n", "\r\n"] {
            chaos.forget_calls();
            let good = run(&bank, &chaos, format!("{PIN}{end}").as_bytes()).expect(0);
            assert!(!good.stderr.contains("blank"), "{good:?}");
            assert_eq!(chaos.calls("C_Login"), 1);
        }
        chaos.forget_calls();
    }
}

#[test]
fn blanks_and_quotation_marks_around_it_are_said_before_the_try() {
    for (pin, oddity) in [
        (format!("{PIN} "), "ends with a blank"),
        (format!(" {PIN}\n"), "begins with a blank"),
        (format!("\"{PIN}\"\n"), "stands in quotation marks"),
    ] {
        let (mut bank, chaos) = bank();
        from(&mut bank, SOURCES[0].0);
        let refused = run(&bank, &chaos, pin.as_bytes()).expect(4);
        let (before, after) = refused
            .stderr
            .split_once("the token refused the PIN")
            .unwrap();
        assert!(
            before.contains(oddity) && after.contains(oddity),
            "{refused:?}"
        );
        assert_eq!(chaos.calls("C_Login"), 1);
        assert!(!refused.stderr.contains(PIN), "{refused:?}");
    }
}

/// A program prints its warning first, or leaves an agent behind that holds its output open.
#[test]
fn a_program_is_read_to_its_end_and_no_further() {
    let (mut bank, chaos) = bank();
    let script = |bank: &mut Bank, text: &str| {
        let path = bank.write("vault", &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        bank.configure(|settings| {
            settings.pin = format!("{{ command = [\"{}\"] }}", path.display())
        });
    };
    write(&bank, PIN.as_bytes());
    let pin = bank.path("source").display().to_string();
    script(
        &mut bank,
        &format!("echo 'WARNING: token renewed'; cat {pin}"),
    );
    said(
        &chaos.run(&bank, &["key", "list"]).expect(4),
        "a line break within the PIN",
    );
    script(&mut bank, &format!("cat {pin}; echo; echo done"));
    said(
        &chaos.run(&bank, &["key", "list"]).expect(4),
        "a line break within the PIN",
    );
    script(&mut bank, "yes");
    said(
        &chaos.run(&bank, &["key", "list"]).expect(4),
        "it is longer than 4096 bytes",
    );
    assert_eq!(chaos.calls("C_Login"), 0);
    script(
        &mut bank,
        &format!("cat {pin}; (exec sleep 20 2>/dev/null) & exit 0"),
    );
    chaos.run(&bank, &["key", "list"]).expect(0);
}

/// As `nobody` of Debian, with the bank's folder its own.
fn as_nobody(bank: &Bank, chaos: &Chaos, arguments: &[&str]) -> Run {
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(bank.config_path())
        .args(arguments)
        .envs(chaos.environment())
        .output()
        .expect("setpriv: part of Debian's util-linux");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: done.status.code().unwrap_or(-1),
        stdout: text(done.stdout),
        stderr: text(done.stderr),
    }
}

#[test]
fn each_cause_at_a_pin_file_has_its_words_and_its_hint() {
    let (mut bank, chaos) = bank();
    let at = |name: &str| bank.path(name);
    let set = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&bank, PIN.as_bytes());
    fs::create_dir(at("folder")).unwrap();
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/pin"), PIN).unwrap();
    set("closed/pin", 0o600);
    fs::write(at("open"), PIN).unwrap();
    set("open", 0o644);
    fs::write(at("empty"), "").unwrap();
    set("empty", 0o600);
    fs::write(at("theirs"), PIN).unwrap();
    set("theirs", 0o600);
    std::os::unix::fs::chown(at("theirs"), Some(65534), Some(65534)).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("source", at("link")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    for (file, what, hint) in [
        (
            "missing",
            "/missing: No such file or directory",
            "`install -m 600 /dev/stdin <bank>/missing`",
        ),
        (
            "missing/pin",
            "the folder <bank>/missing is not there",
            "<bank>/missing/pin is not there",
        ),
        ("source/pin", "/source is not a folder", "correct the path"),
        ("folder", "it is not a file but a folder", "name the file"),
        ("pipe", "it is not a file but a pipe", "{ command = "),
        (
            "/dev/null",
            "it is not a file but a device",
            "name the file",
        ),
        (
            "dangling",
            "is a link to <bank>/nowhere, which is not there",
            "ln -sfn",
        ),
        ("empty", "it is empty", "nothing else into <bank>/empty"),
    ] {
        bank.configure(|settings| settings.pin = format!("{{ file = \"{file}\" }}"));
        let refused = chaos.run(&bank, &["key", "list"]).expect(4);
        let folder = bank.folder().to_str().unwrap();
        said(&refused, &what.replace("<bank>", folder));
        let (_, after) = refused.stderr.split_once("hint:").unwrap();
        assert!(
            after.contains(&hint.replace("<bank>", folder)),
            "{refused:?}"
        );
    }
    for (file, what, hint) in [
        (
            "open",
            "<bank>/open (root:root, mode 0644): everybody may read it",
            "`chmod go-rwx <bank>/open`",
        ),
        (
            "theirs",
            "<bank>/theirs (nobody:nogroup, mode 0600) belongs to another user",
            "`chown root <bank>/theirs`",
        ),
    ] {
        bank.configure(|settings| settings.pin = format!("{{ file = \"{file}\" }}"));
        let folder = bank.folder().to_str().unwrap();
        let (what, hint) = (
            what.replace("<bank>", folder),
            hint.replace("<bank>", folder),
        );
        let refused = chaos.run(&bank, &["key", "list"]).expect(2);
        said(&refused, &what);
        said(&refused, &hint);
    }
    assert_eq!(chaos.calls("C_Login"), 0);
    bank.configure(|settings| settings.pin = "{ file = \"link\" }".to_owned());
    chaos.run(&bank, &["key", "list"]).expect(0);
}

/// Root reads everything, so another user tries.
#[test]
fn a_pin_file_that_is_closed_to_this_user_is_told_with_whom_it_is_for() {
    let (mut bank, chaos) = bank();
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let plan = chaos.environment()[1].1.clone();
    let token = bank.token.pin_file();
    for theirs in [
        bank.folder(),
        token.parent().unwrap(),
        plan.parent().unwrap(),
    ] {
        let done = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(theirs)
            .status();
        assert!(done.unwrap().success());
    }
    let folder = bank.path("secrets");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("pin"), PIN).unwrap();
    set(&folder.join("pin"), 0o600);
    std::os::unix::fs::chown(folder.join("pin"), Some(0), Some(4)).unwrap();
    bank.configure(|settings| {
        settings.pin = "{ file = \"secrets/pin\" }".to_owned();
        settings.token_lines = "login = \"always\"".to_owned();
    });
    // Stopped at the file.
    set(&folder, 0o755);
    let file = as_nobody(&bank, &chaos, &["key", "list"]).expect(4);
    said(
        &file,
        "/secrets/pin (root:adm, mode 0600) cannot be read by user nobody",
    );
    // A group's right would be refused next: what is advised is what is taken.
    let pin = folder.join("pin");
    let advice = format!("`chown nobody {0}` and `chmod 600 {0}`", pin.display());
    said(&file, &advice);
    set(&pin, 0o644);
    let open = as_nobody(&bank, &chaos, &["key", "list"]).expect(2);
    let command = "`sudo chown nobody {0} && chmod go-rwx {0}`";
    said(&open, &command.replace("{0}", pin.to_str().unwrap()));
    std::os::unix::fs::chown(&pin, Some(65534), None).unwrap();
    set(&pin, 0o600);
    as_nobody(&bank, &chaos, &["key", "list"]).expect(0);
    chaos.forget_calls();
    // Stopped on the way.
    set(&folder, 0o700);
    let way = as_nobody(&bank, &chaos, &["key", "list"]).expect(4);
    said(
        &way,
        "/secrets (root:root, mode 0700) cannot be entered by user nobody",
    );
    let check = as_nobody(&bank, &chaos, &["config", "check"]).expect(0);
    let unseen = format!(
        "{} (cannot be looked at by this user: the folder {} (root:root, mode 0700)",
        pin.display(),
        folder.display()
    );
    assert!(check.stdout.contains(&unseen), "{check:?}");
    assert_eq!(chaos.calls("C_Login"), 0);
}
