//! One mistake a file in `hsm-config/bad/`, and its first line is what the operator is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_mistake_has_its_message_hint_and_exit_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hsm-config/bad");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 20, "{files:?}");
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
