//! Tokens for trials: `softhsm/up.sh` and `down.sh` take any folder and do not touch existing files, and `chaos-token`
//! needs nothing but the module that it wraps.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::programs::{good, run, top};
use crate::common::softhsm::MODULE;

/// What shells, sed, printf and configurations give a meaning to.
const FOLDERS: [&str; 16] = [
    "with blanks  in it ",
    "a&b",
    "a|b",
    "a'b",
    "a\"b",
    "100%s",
    "back\\1slash\\n",
    "$HOME`id`",
    "semi;colon",
    "star*[x]?",
    "@RUN@",
    "-rf",
    "größe",
    "(brackets)",
    "~",
    "a,b!c",
];

fn up(folder: &Path) -> Command {
    let mut command = Command::new(top().join("softhsm/up.sh"));
    command.arg("--").arg(folder);
    command
}

/// Whether the PIN of the folder opens the token.
fn opens(folder: &Path, label: &str) -> bool {
    let pin = fs::read_to_string(folder.join("pin")).unwrap();
    let mut tool = Command::new("pkcs11-tool");
    tool.args(["--module", MODULE, "--login", "--list-objects"])
        .args(["--token-label", label, "--pin", &pin])
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
    run(&mut tool).0 == 0
}

#[test]
fn a_token_is_made_in_any_folder_and_a_second_one_leaves_the_first_its_pin() {
    let parent = tempfile::tempdir().unwrap();
    for name in FOLDERS {
        let folder = parent.path().join(name);
        let made = good(&mut up(&folder));
        assert!(made.contains(&folder.display().to_string()), "{made}");
        let files = ["pin", "so-pin", "softhsm2.conf"].map(|file| folder.join(file));
        let before = files.each_ref().map(|file| fs::read(file).unwrap());
        assert!(opens(&folder, "lfi-preprod"), "{name}");
        // The names of two tokens may be alike to who looks for a pattern.
        good(up(&folder).arg("lfi.preprod"));
        good(up(&folder).arg("lfi"));
        // Once more changes nothing.
        let again = good(&mut up(&folder));
        assert!(again.contains("is there already"), "{again}");
        let after = files.each_ref().map(|file| fs::read(file).unwrap());
        assert_eq!(before, after, "{name}");
        assert_eq!(fs::read_dir(folder.join("tokens")).unwrap().count(), 3);
        for label in ["lfi-preprod", "lfi.preprod", "lfi"] {
            assert!(opens(&folder, label), "{name}: {label}");
        }
        let mut down = Command::new(top().join("softhsm/down.sh"));
        good(down.arg("--").arg(&folder));
        assert!(!folder.exists(), "{name}");
    }
    // From where it is, under a name that looks like an option.
    let mut up = Command::new(top().join("softhsm/up.sh"));
    good(up.args(["--", "-q"]).current_dir(parent.path()));
    assert!(opens(&parent.path().join("-q"), "lfi-preprod"));
}

#[test]
fn what_cannot_be_made_is_refused_and_what_is_there_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    // SoftHSM's own file has no way to write these.
    for name in ["a#b", "a=b", "a\nb"] {
        let folder = parent.path().join(name);
        let (code, _, said) = run(&mut up(&folder));
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("SoftHSM cannot be told of a folder"),
            "{said}"
        );
        assert!(!folder.exists(), "{name}");
    }
    let folder = parent.path().join("token");
    for label in ["", "123456789012345678901234567890123", "a\nb"] {
        let (code, _, said) = run(up(&folder).arg(label));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("label"), "{said}");
    }
    assert!(!folder.exists());

    // Another's configuration, and another's files.
    let other = parent.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("softhsm2.conf"), "mine").unwrap();
    let (code, _, said) = run(&mut up(&other));
    assert_eq!(code, 1, "{said}");
    let down = |folder: &Path| {
        let mut down = Command::new(top().join("softhsm/down.sh"));
        good(down.arg(folder))
    };
    fs::create_dir(other.join("tokens")).unwrap();
    assert!(down(&other).contains("nothing of up.sh"));
    assert_eq!(fs::read(other.join("softhsm2.conf")).unwrap(), b"mine");
    let home = parent.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter"), "dear").unwrap();
    good(&mut up(&home));
    assert!(down(&home).contains("other files are left"));
    assert_eq!(fs::read(home.join("letter")).unwrap(), b"dear");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    assert!(down(&parent.path().join("nowhere")).contains("nothing of up.sh"));
}

#[test]
fn the_token_that_misbehaves_wants_nothing_but_the_module_it_wraps() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "pin-tries 3\n");
    let module = Path::new(MODULE);
    let alone = [("CHAOS_TOKEN_MODULE", module)];
    // A good login, in each process that it takes.
    bank.run_with(&["token", "check"], &alone).expect(0);
    bank.run_with(&["key", "list"], &alone).expect(0);
    let environment = chaos.environment();
    let plan = &environment[1].1;
    let with_plan = [
        ("CHAOS_TOKEN_MODULE", module),
        ("CHAOS_TOKEN_PLAN", plan.as_path()),
        ("CHAOS_TOKEN_STATE", Path::new("")),
    ];
    bank.run_with(&["token", "check"], &with_plan[..2])
        .expect(0);
    bank.run_with(&["token", "check"], &with_plan).expect(0);
    // Wrong ones are counted for as long as the process lives, by another client than ours.
    let mut tool = Command::new("pkcs11-tool");
    let wrong = tool
        .args(["--module", bank.module().to_str().unwrap()])
        .args(["--login", "--pin", "wrong", "--list-objects"])
        .env("SOFTHSM2_CONF", bank.token.conf())
        .envs(with_plan[..2].iter().map(|(name, value)| (*name, *value)));
    let (code, _, said) = run(wrong);
    assert_eq!(code, 1, "it is refused, and does not crash: {said}");
    assert!(said.contains("CKR_PIN_INCORRECT"), "{said}");
    // What it cannot keep it says.
    let nowhere = [
        with_plan[0],
        with_plan[1],
        ("CHAOS_TOKEN_STATE", Path::new("/")),
    ];
    let run = bank.run_with(&["token", "check"], &nowhere);
    assert!(
        run.stderr.contains("chaos-token: / of CHAOS_TOKEN_STATE"),
        "{run:?}"
    );
}
