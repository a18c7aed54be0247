//! Each file of `hsm-config/bad/` has one mistake, and its first line is the message for it. What cannot be a text
//! file there is made here: other encodings, links, folders, pipes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const GOOD: &str = r#"environment = "preprod"
lfi_code = "mybank"

[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri = "pkcs11:token=lfi"
pin = { file = "pin" }

[c3]
key = "pkcs11:object=c3;type=private"
certificate = "c3.pem"

[trust]
mode = "trust-framework"
anchors = "tf.pem"
"#;

/// What `config check` says of a file: exit code, message and hint, with the folder left out.
fn said(folder: &Path, file: &Path) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(file)
        .args(["config", "check"])
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    let said = said.replace(&format!("{}/", folder.display()), "");
    let (message, hint) = said.split_once("\nhint:").unwrap_or((&said, ""));
    (
        done.status.code(),
        message.to_owned(),
        hint.trim().to_owned(),
    )
}

fn in_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn each_mistake_has_its_message_hint_and_exit_code() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("hsm-config/bad");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 90, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let expected = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
            .arg("--config")
            .arg(&file)
            .args(["config", "check"])
            .output()
            .unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        let folder = format!("{}/", folder.display());
        let (message, hint) = said.split_once("\nhint:").unwrap();
        assert_eq!(message.replace(&folder, ""), format!("error: {expected}"));
        assert!(hint.trim().len() > 10, "{said}");
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn another_encoding_is_told_with_its_line_and_what_converts_it() {
    let folder = in_folder();
    let file = folder.path().join("bank.toml");
    let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    let latin: Vec<u8> = GOOD
        .replace("mybank", "s\u{f6}hne")
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    for (bytes, message, hint) in [
        (
            wide(&format!("\u{feff}{GOOD}"), u16::to_le_bytes),
            "bank.toml: the file is UTF-16, and TOML is UTF-8",
            "iconv -f UTF-16",
        ),
        (
            wide(&format!("\u{feff}{GOOD}"), u16::to_be_bytes),
            "bank.toml: the file is UTF-16, and TOML is UTF-8",
            "iconv -f UTF-16",
        ),
        (
            wide(GOOD, u16::to_le_bytes),
            "bank.toml: the file is UTF-16, and TOML is UTF-8",
            "iconv -f UTF-16",
        ),
        (
            latin,
            "bank.toml, line 2: this line is not UTF-8",
            "iconv -f WINDOWS-1252",
        ),
        (
            b"\x7fELF\x02\x01\x01\0\0".to_vec(),
            "bank.toml is not a configuration but a binary file",
            "name the TOML file",
        ),
        (
            GOOD.replace('\n', "\r").into_bytes(),
            "the lines end with a carriage return alone",
            "tr ",
        ),
        (
            vec![b'#'; 2 << 20],
            "bank.toml is not a configuration but something longer",
            "name the TOML file",
        ),
        (
            Vec::new(),
            "bank.toml is not a configuration but an empty file",
            "README",
        ),
        (
            b"\n# nothing yet\n".to_vec(),
            "bank.toml is not a configuration but an empty file",
            "README",
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        let (code, told, advice) = said(folder.path(), &file);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(message), "{told}");
        assert!(advice.contains(hint), "{told}: {advice}");
    }
    // These are as good as any.
    for text in [format!("\u{feff}{GOOD}"), GOOD.replace('\n', "\r\n")] {
        fs::write(&file, text).unwrap();
        assert_eq!(said(folder.path(), &file).0, Some(0));
    }
}

#[test]
fn what_is_no_file_or_out_of_reach_is_told_as_that() {
    let folder = in_folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("bank.toml"), GOOD).unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("nowhere.toml", at("dangling.toml")).unwrap();
    symlink("round.toml", at("round.toml")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    for (name, message) in [
        ("missing.toml", "there is no such file"),
        ("missing/bank.toml", "the folder missing is not there"),
        ("bank.toml/x", "bank.toml is not a folder"),
        ("folder", "it is not a file but a folder"),
        ("pipe", "it is not a file but a pipe"),
        ("/dev/null", "it is not a file but a device"),
        (
            "dangling.toml",
            "dangling.toml is a link to nowhere.toml, which is not there",
        ),
        ("round.toml", "is a link that leads back to itself"),
    ] {
        let (code, told, hint) = said(folder.path(), &at(name));
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.starts_with("error: cannot read the configuration "),
            "{told}"
        );
        assert!(told.ends_with(message), "{told}");
        assert!(hint.len() > 10, "{told}: {hint}");
    }
    // Root reads everything, so another user tries.
    fs::set_permissions(at("bank.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(at("bank.toml"), Some(0), Some(4)).unwrap();
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args([
            env!("CARGO_BIN_EXE_hsm-mtls"),
            "config",
            "check",
            "--config",
        ])
        .arg(at("bank.toml"))
        .output()
        .expect("setpriv: part of Debian's util-linux");
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(
        told.contains("bank.toml (root:adm, mode 0640) cannot be read by user nobody"),
        "{told}"
    );
    assert!(told.contains("`usermod -aG adm nobody`"), "{told}");
}

/// Relative paths are taken from where the link lies, and the files are where it leads to.
#[test]
fn a_link_is_told_where_the_files_are_elsewhere() {
    let folder = in_folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/bank.toml"), GOOD).unwrap();
    symlink("real/bank.toml", at("link.toml")).unwrap();
    let (code, told, hint) = said(folder.path(), &at("link.toml"));
    // Nothing is there yet, here or there.
    assert_eq!(code, Some(0), "{told}{hint}");
    for file in ["c3.pem", "tf.pem", "pin"] {
        fs::write(at("real").join(file), "").unwrap();
        let (code, told, hint) = said(folder.path(), &at("link.toml"));
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("the configuration is a link to real/bank.toml"),
            "{told}"
        );
        assert!(told.contains(&format!("{file} is in ")), "{told}");
        assert!(hint.contains("--config real/bank.toml"), "{hint}");
        fs::remove_file(at("real").join(file)).unwrap();
    }
    fs::write(at("real/tf.pem"), "").unwrap();
    fs::write(at("tf.pem"), "").unwrap();
    assert_eq!(said(folder.path(), &at("link.toml")).0, Some(0));
}

#[test]
fn an_empty_name_is_told_as_that() {
    let run = |arguments: &[&str], variable: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
            .args(arguments)
            .env("HSM_MTLS_CONFIG", variable)
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    for arguments in [&["config", "check"][..], &["token", "list"], &["proxy"]] {
        let (code, told) = run(arguments, "");
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("HSM_MTLS_CONFIG is empty, so no configuration is named"),
            "{told}"
        );
        assert!(told.contains("unset HSM_MTLS_CONFIG"), "{told}");
    }
    for arguments in [
        &["--config", "", "config", "check"][..],
        &["config", "check", "--config="],
    ] {
        let (code, told) = run(arguments, "/etc/bank.toml");
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("--config is empty, so no configuration is named"),
            "{told}"
        );
    }
}

/// What the hint says is taken when it is followed.
#[test]
fn a_pin_source_without_quotation_marks_is_told_how_it_is_written() {
    let folder = in_folder();
    let file = folder.path().join("bank.toml");
    for (line, advice) in [
        ("pin = { file = tok/pin }", "pin = { file = \"...\" }"),
        ("pin = tok/pin", "pin = { file = \"...\" }"),
        ("pin = { env = HSM_PIN }", "pin = { env = \"...\" }"),
        ("pin = prompt", "pin = \"...\""),
    ] {
        fs::write(&file, GOOD.replace("pin = { file = \"pin\" }", line)).unwrap();
        let (code, told, hint) = said(folder.path(), &file);
        assert_eq!(code, Some(2), "{line}: {told}");
        assert!(hint.contains(&format!("write {advice}")), "{line}: {hint}");
    }
}

/// A line that is told as wrong may hold a secret.
#[test]
fn no_value_is_repeated() {
    let folder = in_folder();
    let file = folder.path().join("bank.toml");
    for line in [
        "pin = 8745x",
        "pin = \u{201c}8745\u{201d}",
        "pin = \"8745",
        "pin = 8745\"",
        "pin: 8745",
        "pin 8745",
        "pin = \"8745\", x",
        "pin = \"\\8745\"",
        "sessions = \"8745\"",
        "timeout = 8745",
        "pin = 8745\npin = 8745",
        "env = { SOFTHSM2_CONF = \"~/8745\" }",
        "8745 = 1",
        "pin8745 = 1",
    ] {
        fs::write(&file, GOOD.replace("pin = { file = \"pin\" }", line)).unwrap();
        let (code, told, hint) = said(folder.path(), &file);
        assert_eq!(code, Some(2), "{line}: {told}");
        assert!(
            !told.contains("8745") && !hint.contains("8745"),
            "{line}: {told}{hint}"
        );
    }
}
