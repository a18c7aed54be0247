//! Law 10: the true PIN, 32 random bytes, is in nothing that the command leaves: no log at trace
//! level, no error, no evidence, no record, no argv; from whatever source it comes, and however the
//! command ends.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::bank::{Bank, Run};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::softhsm::SoftHsm;
use crate::common::trust_framework::{Kind, write_file};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The PIN in each form that a careless line could print it in.
struct Secret {
    pin: String,
    forms: Vec<String>,
}

impl Secret {
    fn new() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).unwrap();
        // A PIN is text: CK_UTF8CHAR.
        let pin = hexadecimal(&bytes);
        let listed = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
        let forms = vec![
            // Half of it is too much already.
            pin[..32].to_owned(),
            pin[32..].to_owned(),
            pin[..32].to_uppercase(),
            hexadecimal(pin.as_bytes()),
            STANDARD.encode(&pin),
            STANDARD_NO_PAD.encode(bytes),
            listed(&bytes),
            listed(pin.as_bytes()),
            hexadecimal(
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pin.as_bytes()).as_ref(),
            ),
        ];
        Self { pin, forms }
    }

    fn assert_not_in(&self, place: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for form in &self.forms {
            assert!(
                !text.contains(form),
                "{place} holds the PIN as {form}:\n{text}"
            );
        }
    }

    fn assert_not_in_run(&self, run: &Run) {
        self.assert_not_in("standard output", run.stdout.as_bytes());
        self.assert_not_in("standard error", run.stderr.as_bytes());
    }

    /// Every file that was left below a folder, except the one that the PIN comes from.
    fn assert_not_below(&self, folder: &Path, source: &Path) -> usize {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .map(|path| match path.is_dir() {
                true => self.assert_not_below(&path, source),
                false if path == source => 0,
                false => {
                    self.assert_not_in(&path.display().to_string(), &fs::read(&path).unwrap());
                    1
                }
            })
            .sum()
    }
}

/// The commands that sign, and so log at the level that is looked at.
const SIGNS: [&str; 3] = ["csr", "verify", "request"];

struct Scene {
    bank: Bank,
    chaos: Chaos,
    secret: Secret,
    source: PathBuf,
    _hub: Hub,
}

/// A bank that is ready, behind the fault-injecting module.
fn scene() -> Scene {
    let secret = Secret::new();
    let token = SoftHsm::with_pin("lfi", &secret.pin);
    let mut bank = Bank::with_token(Kind::Sandbox, token);
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("rsa-2048");
    bank.write("leaf.pem", &bank.issue());
    let source = bank.path("the-pin");
    write_file(&source, &secret.pin, 0o600);
    let chaos = Chaos::between(&mut bank, "");
    Scene {
        bank,
        chaos,
        secret,
        source,
        _hub: hub,
    }
}

impl Scene {
    fn set_pin(&mut self, source: String) {
        self.bank.configure(|settings| settings.pin = source);
    }

    /// Runs a command at trace level, in both forms of the log, with further variables.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)], code: i32) {
        for format in ["text", "json"] {
            let all = [arguments, &["-vvv", "--log-format", format]].concat();
            let run = self
                .chaos
                .run_with(&self.bank, &all, variables)
                .expect(code);
            self.secret.assert_not_in_run(&run);
            // There is a log to be looked at, where something was signed.
            let logged = run.stderr.contains("DEBUG") && run.stderr.contains("signed");
            assert!(logged || !SIGNS.contains(&arguments[0]), "{run:?}");
        }
        let left = self
            .secret
            .assert_not_below(self.bank.folder(), &self.source);
        assert!(left > 3, "{left} files were looked at");
    }
}

/// What looks for it finds it.
#[test]
fn each_form_of_it_is_found() {
    let secret = Secret::new();
    for form in &secret.forms {
        let found = std::panic::catch_unwind(|| {
            secret.assert_not_in("a line", format!("pin={form}.").as_bytes());
        });
        assert!(found.is_err(), "{form}");
    }
}

#[test]
fn no_command_prints_it() {
    let mut scene = scene();
    scene.set_pin(format!("{{ file = \"{}\" }}", scene.source.display()));
    let leaf = scene.bank.path("leaf.pem");
    for arguments in [
        &["config", "check"][..],
        &["token", "list"],
        &["token", "check", "-n", "2"],
        &["key", "list"],
        &["csr"],
        &["cert", "install", leaf.to_str().unwrap()],
        &["cert", "show"],
        &["verify"],
        &["verify", "--json"],
        &["request", "GET", "cm:/consents/1"],
    ] {
        scene.run(arguments, &[], 0);
    }
    for number in 0..2 {
        let evidence = scene.bank.path(&format!("evidence-{number}.json"));
        let arguments = ["verify", "--evidence", evidence.to_str().unwrap()];
        let run = scene.chaos.run(&scene.bank, &arguments).expect(0);
        scene.secret.assert_not_in_run(&run);
        assert!(fs::metadata(&evidence).unwrap().len() > 1000);
    }
    // Looks at what was left once more: the evidence too.
    scene.run(&["cert", "show"], &[], 0);
}

#[test]
fn no_way_for_a_login_to_fail_prints_it() {
    for (plan, code) in [
        ("fail C_Login all CKR_PIN_INCORRECT", 4),
        ("fail C_Login all CKR_PIN_LOCKED", 4),
        ("fail C_Login all CKR_DEVICE_ERROR", 3),
        ("fail C_Login all 0x80000105", 4),
        // It brings down the signer process, and that alone.
        ("crash C_Login 1", 4),
        ("flag CKF_USER_PIN_FINAL_TRY", 4),
        ("fail C_OpenSession all CKR_SESSION_COUNT", 3),
        ("signature wrong", 2),
    ] {
        let mut scene = scene();
        scene.set_pin(format!("{{ file = \"{}\" }}", scene.source.display()));
        scene.chaos.plan(plan);
        let first = scene
            .chaos
            .run(&scene.bank, &["verify", "-vvv"])
            .expect(code);
        scene.secret.assert_not_in_run(&first);
        // And what is said of it at the next start.
        let again = scene.chaos.run(&scene.bank, &["verify", "-vvv"]);
        scene.secret.assert_not_in_run(&again);
        assert_ne!(again.code, 0, "{plan}");
        let left = scene
            .secret
            .assert_not_below(scene.bank.folder(), &scene.source);
        assert!(left > 3, "{left} files were looked at");
    }
}

#[test]
fn no_source_shows_it_and_no_argv_holds_it() {
    let mut scene = scene();
    scene.set_pin("{ env = \"THE_PIN\" }".to_owned());
    let pin = scene.secret.pin.clone();
    scene.run(&["token", "check", "-n", "1"], &[("THE_PIN", &pin)], 0);
    scene.set_pin("{ credential = \"the-pin\" }".to_owned());
    let folder = scene.bank.folder().to_str().unwrap().to_owned();
    scene.run(&["key", "list"], &[("CREDENTIALS_DIRECTORY", &folder)], 0);
    // The command is asked for the PIN while it logs in: what is its argv then, and its parents'?
    let script = scene.bank.path("vault");
    let (source, seen) = (scene.source.display(), scene.bank.path("argv"));
    let text = format!(
        "#!/bin/sh\nup=$$\nwhile [ \"$up\" -gt 1 ]; do\n  cat /proc/$up/cmdline /proc/$up/environ\n  \
         up=$(awk '/^PPid:/ {{ print $2 }}' /proc/$up/status)\ndone >>{}\nexec cat {source}\n",
        seen.display()
    );
    write_file(&script, &text, 0o700);
    scene.set_pin(format!("{{ command = [\"{}\"] }}", script.display()));
    scene.run(&["verify"], &[], 0);
    let argv = String::from_utf8_lossy(&fs::read(seen).unwrap()).into_owned();
    // The signer, and the command above it.
    for word in ["--config", "signer", "verify"] {
        assert!(argv.contains(word), "{argv}");
    }
    // A PIN that is written where its source should stand is not repeated.
    scene.set_pin(format!("\"{pin}\""));
    let run = scene
        .chaos
        .run(&scene.bank, &["key", "list", "-vvv"])
        .expect(2);
    scene.secret.assert_not_in_run(&run);
}

/// By whatever name, also through standard input.
#[test]
fn a_file_that_holds_a_secret_is_not_sent() {
    let bank = Bank::new();
    let pin = bank.token.pin_file();
    std::os::unix::fs::symlink(&pin, bank.path("link")).unwrap();
    fs::hard_link(&pin, bank.path("hard")).unwrap();
    let dotted = pin
        .parent()
        .unwrap()
        .join("./")
        .join(pin.file_name().unwrap());
    for path in [&pin, &dotted, &bank.path("link"), &bank.path("hard")] {
        let data = format!("@{}", path.display());
        let run = bank.run(&["request", "POST", "cm:/x", "-d", &data]);
        let run = run.expect(2);
        assert!(
            run.stderr.contains("is not sent: it is the PIN file"),
            "{run:?}"
        );
    }
    let mut command = std::process::Command::new(crate::common::bank::BINARY.unwrap());
    command.arg("--config").arg(bank.config_path());
    command.args(["request", "POST", "cm:/x", "-d", "@-"]);
    let done = command
        .stdin(fs::File::open(&pin).unwrap())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("it is the PIN file"));
}

#[test]
fn of_a_faulty_header_the_name_alone_is_repeated() {
    let bank = Bank::new();
    for (header, name) in [
        ("Authorization=Bearer c2VjcmV0", Some("Authorization")),
        ("Authorization Bearer c2VjcmV0", Some("Authorization")),
        ("Authorization: Bearer c2VjcmV0\u{1}", Some("Authorization")),
        ("c2VjcmV0", None),
        ("c2VjcmV0==", None),
    ] {
        let run = bank.run(&["request", "GET", "cm:/x", "-H", header]);
        let run = run.expect(2);
        assert!(
            run.stderr.contains(name.unwrap_or("what -H gives is not")),
            "{run:?}"
        );
        assert!(!run.stderr.contains("c2VjcmV0"), "{run:?}");
    }
}
