//! Keys are made inside the token so that they cannot leave it, and found so that they cannot be
//! mistaken for each other.

use crate::common::bank::{Bank, Run};
use serde_json::Value;

fn only_key(bank: &Bank) -> Value {
    let list = bank.run(&["key", "list", "--json"]).expect(0).json();
    let keys = list["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    keys[0].clone()
}

#[test]
fn a_generated_key_is_for_signing_only_and_stays() {
    for key_type in ["rsa-2048", "p-256", "ed25519"] {
        let bank = Bank::new();
        bank.run(&["key", "generate", "--type", key_type]).expect(0);
        let attributes = &only_key(&bank)["attributes"];
        for (name, value) in [
            ("private", true),
            ("sensitive", true),
            ("always_sensitive", true),
            ("never_extractable", true),
            ("local", true),
            ("sign", true),
            ("extractable", false),
            ("decrypt", false),
            ("unwrap", false),
            ("derive", false),
            ("modifiable", false),
            ("copyable", false),
        ] {
            assert_eq!(attributes[name], value, "{key_type} {name}");
        }
    }
}

#[test]
fn a_second_object_of_the_same_label_is_refused() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let before = only_key(&bank);
    let refused = bank.run(&["key", "generate"]).expect(2);
    assert!(
        refused
            .stderr
            .contains("holds an object with the label \"c3\" already"),
        "{refused:?}"
    );
    assert_eq!(only_key(&bank), before);
}

#[test]
fn the_role_that_makes_keys_has_a_pin_of_its_own() {
    let mut bank = Bank::new();
    let good = format!("file:{}", bank.token.pin_file().display());
    // The configured source gives nothing: the key is made all the same.
    bank.configure(|settings| settings.pin = "{ env = \"NOT_SET\" }".to_owned());
    let generate = |source: &str, label: &str| {
        bank.run(&["key", "generate", "--label", label, "--pin-source", source])
    };
    generate(&good, "first").expect(0);
    bank.run(&["key", "list"]).expect(4);

    let wrong = bank.write("so-pin", "not the PIN");
    set_private(&wrong);
    let wrong = format!("file:{}", wrong.display());
    let refused = generate(&wrong, "second").expect(4);
    let said = "the token refused the PIN: C_Login returned CKR_PIN_INCORRECT";
    assert!(refused.stderr.contains(said), "{refused:?}");
    // The token now warns, and nobody is at a terminal: not even a right PIN is tried.
    for source in [&wrong, &good] {
        let guarded = generate(source, "second").expect(4);
        let said = "no PIN was sent: the token says CKF_USER_PIN_COUNT_LOW";
        assert!(guarded.stderr.contains(said), "{guarded:?}");
    }
}

fn set_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_pin_file_that_others_can_read_is_refused() {
    let bank = Bank::new();
    let open = bank.write("open-pin", crate::common::softhsm::PIN);
    let source = format!("file:{}", open.display());
    let refused = bank
        .run(&["key", "generate", "--pin-source", &source])
        .expect(4);
    assert!(
        refused
            .stderr
            .contains("(root:root, mode 0644): everybody may read it"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("`chmod go-rwx "), "{refused:?}");
    assert!(!refused.stderr.contains(crate::common::softhsm::PIN));
}

/// A rotation leaves two keys of one label. The certificate tells which of them is meant.
#[test]
fn of_two_keys_the_certificate_decides_and_without_it_both_are_listed() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.run(&["key", "generate", "--label", "c3-new", "--type", "p-256"])
        .expect(0);
    bank.configure(|settings| settings.key = "pkcs11:type=private".to_owned());
    let steps = |run: Run| run.json()["steps"].clone();
    let with = steps(bank.run(&["token", "check", "--json", "-n", "1"]).expect(0));
    let key = with
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["name"] == "key")
        .unwrap();
    assert!(
        key["detail"].as_str().unwrap().contains("object=c3;"),
        "{key}"
    );
    std::fs::remove_file(bank.path("c3.pem")).unwrap();
    let without = bank.run(&["token", "check"]).expect(2);
    assert!(
        without.stdout.contains("2 private keys match"),
        "{without:?}"
    );
    assert!(
        without.stdout.contains("object=c3;") && without.stdout.contains("object=c3-new;"),
        "{without:?}"
    );
}

#[test]
fn each_kind_of_pin_source_is_read() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let pin = crate::common::softhsm::PIN;
    let directory = bank.token.pin_file().parent().unwrap().to_owned();
    let script = bank.write(
        "pin.sh",
        &format!("#!/bin/sh\ncat '{}'\n", bank.token.pin_file().display()),
    );
    let command = format!("command:/bin/sh {}", script.display());
    let sources: [(&str, &str, &std::path::Path); 3] = [
        ("env:THE_PIN", "THE_PIN", pin.as_ref()),
        ("credential:pin", "CREDENTIALS_DIRECTORY", &directory),
        (&command, "UNUSED", pin.as_ref()),
    ];
    for (index, (source, name, value)) in sources.into_iter().enumerate() {
        let label = format!("key-{index}");
        let made = bank.run_with(
            &[
                "key",
                "generate",
                "--label",
                &label,
                "--type",
                "p-256",
                "--pin-source",
                source,
            ],
            &[(name, value)],
        );
        assert_eq!(made.code, 0, "{source}: {made:?}");
    }
    let nobody = bank
        .run(&["key", "generate", "--label", "x", "--pin-source", "prompt"])
        .expect(4);
    assert!(
        nobody.stderr.contains("nobody is at a terminal"),
        "{nobody:?}"
    );
}

/// Law 6: what is surely wrong is not sent, because it would cost a try.
#[test]
fn a_pin_that_is_surely_wrong_is_not_tried() {
    let bank = Bank::new();
    let generate = |arguments: &[&str]| bank.run(&[&["key", "generate"], arguments].concat());
    let so = generate(&["--user-type", "so"]).expect(2);
    assert!(
        so.stderr.contains("this role has a PIN of its own"),
        "{so:?}"
    );
    for number in ["0", "1", "2", "7"] {
        generate(&["--user-type", number]).expect(2);
    }
    let two_lines = bank.write(
        "two-lines",
        &format!("{}\nsecond\n", crate::common::softhsm::PIN),
    );
    set_private(&two_lines);
    let source = format!("file:{}", two_lines.display());
    let refused = generate(&["--pin-source", &source]).expect(4);
    assert!(
        refused.stderr.contains("a line break within the PIN"),
        "{refused:?}"
    );
    let keypad = generate(&["--pin-source", "protected-path"]).expect(4);
    assert!(
        keypad
            .stderr
            .contains("CKF_PROTECTED_AUTHENTICATION_PATH is not set"),
        "{keypad:?}"
    );
    // No try was spent: the token warns of none, and the right PIN is taken.
    generate(&[]).expect(0);
}

#[test]
fn a_key_elsewhere_is_not_found_by_an_attribute_that_does_not_fit() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    for wrong in [
        "token=other",
        "serial=0",
        "slot-description=nowhere",
        "library-description=Luna",
        "id=%01",
    ] {
        bank.configure(|settings| settings.key = format!("pkcs11:object=c3;{wrong}"));
        let run = bank.run(&["csr"]).expect(2);
        assert!(
            run.stderr.contains("no private key matches"),
            "{wrong}: {run:?}"
        );
    }
}

#[test]
fn of_two_commands_at_once_one_makes_the_key() {
    let bank = Bank::new();
    let generate = || bank.run(&["key", "generate"]);
    let mut codes = std::thread::scope(|scope| {
        let all = [(); 4].map(|()| scope.spawn(generate));
        all.map(|one| one.join().unwrap().code)
    });
    codes.sort_unstable();
    // Refused by the label (2); or SoftHSM, which rewrites its token's file at each login, showed no token (3).
    assert!(
        codes[0] == 0 && codes[1..].iter().all(|code| [2, 3].contains(code)),
        "{codes:?}"
    );
    only_key(&bank);
}

#[test]
fn a_command_that_does_not_end_holds_no_other_up_for_ever() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.token_lines = "start_timeout = \"1s\"".to_owned());
    bank.run(&["key", "generate"]).expect(0);
    let state = std::fs::read_dir(bank.path("state")).unwrap();
    let mut files = state.map(|entry| entry.unwrap().path());
    let lock = files.find(|path| {
        path.extension().is_some_and(|end| end == "lock")
            && path.to_str().unwrap().contains("generate-")
    });
    let lock = std::fs::File::open(lock.expect("a lock file")).unwrap();
    lock.lock().unwrap();
    let run = bank
        .run(&["key", "generate", "--label", "second"])
        .expect(3);
    assert!(
        run.stderr
            .contains("did not end within 1 s; no key was made"),
        "{run:?}"
    );
    lock.unlock().unwrap();
    only_key(&bank);
}

/// The likeliest mistake is the PIN in the place of its source.
#[test]
fn a_pin_in_the_place_of_its_source_is_not_repeated() {
    let bank = Bank::new();
    for source in [
        "41a7c0ffee",
        "pin:41a7c0ffee",
        "env:41a7c0ffee",
        "env:$41a7c0ffee",
    ] {
        for json in [&[][..], &["--json"]] {
            let arguments = [&["key", "generate", "--pin-source", source], json].concat();
            let run = bank.run(&arguments).expect(2);
            assert!(run.stderr.contains("--pin-source"), "{run:?}");
            assert!(!run.stderr.contains("41a7c0ffee"), "{run:?}");
        }
    }
    let dollar = bank.run(&["key", "generate", "--pin-source", "env:${HSM_PIN}"]);
    assert!(dollar.expect(2).stderr.contains("without the $"));
}
