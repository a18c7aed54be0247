//! A configuration file that the user of the command may not write: the lines are said, and seen once somebody has written them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::common::bank::BINARY;
use crate::common::hub::{Hub, HubOptions};
use crate::scene::{bank, certified, refused, rotate, start, state};

#[test]
fn lines_that_were_written_by_hand_are_noticed() {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let chain = certified(&bank, &start(&bank, &[]));
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    let said = state(&bank, &[]);
    let new = &said["new"]["configured_as"];
    let (key, certificate) = (
        new["key"].as_str().unwrap(),
        new["certificate"].as_str().unwrap(),
    );
    // A third pair is neither.
    let before = fs::read_to_string(bank.config_path()).unwrap();
    fs::write(bank.config_path(), before.replace("c3.pem", "third.pem")).unwrap();
    assert_eq!(state(&bank, &[])["configured"], "neither");
    let said = refused(&bank, &["switch"], 2);
    assert!(
        said.contains("neither the old pair nor the new one"),
        "{said}"
    );
    assert!(said.contains("certificate = \"c3.pem\""), "{said}");
    // The whole path, and comments.
    let whole = bank.path(certificate);
    let by_hand = before
        .replace(
            "certificate = \"c3.pem\"",
            &format!("certificate = '{}' # ours", whole.display()),
        )
        .replace("pkcs11:object=c3;type=private", key);
    fs::write(bank.config_path(), &by_hand).unwrap();
    let status = state(&bank, &[]);
    assert_eq!(status["configured"], "new", "{status:#}");
    assert_eq!(status["stage"], "tested");
    assert!(
        status["next"]["text"]
            .as_str()
            .unwrap()
            .contains("rotate switch")
    );
    rotate(&bank, &["switch"]).expect(0);
    assert_eq!(fs::read_to_string(bank.config_path()).unwrap(), by_hand);
    assert_eq!(state(&bank, &[])["stage"], "switched");
    // And back by hand.
    fs::write(bank.config_path(), &before).unwrap();
    let status = state(&bank, &[]);
    assert_eq!(status["configured"], "old");
    assert!(
        status["next"]["text"]
            .as_str()
            .unwrap()
            .contains("rotate back"),
        "{status:#}"
    );
    rotate(&bank, &["back"]).expect(0);
    assert_eq!(state(&bank, &[])["stage"], "installed");
}

/// Root may write anywhere, but on a disk that takes no change.
#[test]
fn a_file_that_cannot_be_written_is_said_with_the_lines() {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    // The file lies elsewhere, and a link in its place.
    let folder = bank.path("elsewhere");
    fs::create_dir(&folder).unwrap();
    let target = folder.join("bank.toml");
    fs::rename(bank.config_path(), &target).unwrap();
    symlink(&target, bank.config_path()).unwrap();
    let chain = certified(&bank, &start(&bank, &[]));
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    let before = fs::read_to_string(&target).unwrap();
    let read_only =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", read_only, "sh"])
        .arg(&folder)
        .args([BINARY.unwrap(), "--config"])
        .arg(bank.config_path())
        .args(["rotate", "switch"])
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(
        said.contains("on a disk that cannot be written to"),
        "{said}"
    );
    let status = state(&bank, &[]);
    assert_eq!(status["stage"], "tested", "{status:#}");
    let new = &status["new"]["configured_as"];
    for field in ["key", "certificate"] {
        let line = format!("{field} = {}", new[field]);
        assert!(said.contains(&line), "{line}: {said}");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), before);
    // Where it can be written, the link stays one.
    rotate(&bank, &["switch"]).expect(0);
    assert!(
        fs::symlink_metadata(bank.config_path())
            .unwrap()
            .is_symlink()
    );
    assert_ne!(fs::read_to_string(&target).unwrap(), before);
}
