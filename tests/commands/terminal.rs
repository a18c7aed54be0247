//! A person at a terminal types the PIN, and confirms another try when few are left; help and tables fit the terminal.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::softhsm::PIN;

/// Printed when what is typed no longer shows.
const SILENT: &str = "the terminal is silent";

/// Runs `hsm-mtls` at a pseudo-terminal, types this line once the terminal has stopped to echo, and
/// gives what appeared on the screen.
pub(super) fn at_terminal(bank: &Bank, arguments: &str, typed: &str) -> (i32, String) {
    at_terminal_with(bank, arguments, typed, &[])
}

pub(super) fn at_terminal_with(
    bank: &Bank,
    arguments: &str,
    typed: &str,
    environment: &[(&str, PathBuf)],
) -> (i32, String) {
    let watch =
        format!("(until stty -a </dev/tty | grep -q -e '-echo '; do :; done; echo {SILENT}) &");
    let command = format!(
        "{watch} exec '{}' --config '{}' {arguments}",
        env!("CARGO_BIN_EXE_hsm-mtls"),
        bank.config_path().display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script: part of Debian's bsdutils");
    let mut keyboard = script.stdin.take().unwrap();
    let mut screen = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    let has = |shown: &[u8]| String::from_utf8_lossy(shown).contains(SILENT);
    while !has(&shown) {
        let mut byte = [0];
        assert_eq!(
            screen.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&shown)
        );
        shown.push(byte[0]);
    }
    writeln!(keyboard, "{typed}").unwrap();
    screen.read_to_end(&mut shown).unwrap();
    let status = script.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    (status.code().unwrap_or(-1), shown)
}

#[test]
fn a_pin_is_typed_and_does_not_show() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank.configure(|settings| settings.pin = "\"prompt\"".to_owned());
    let (code, shown) = at_terminal(&bank, "token check -n 1", PIN);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("PIN of the token: "), "{shown}");
    assert!(!shown.contains(PIN), "{shown}");
    bank.run(&["token", "check"]).expect(4);
}

#[test]
fn after_a_wrong_pin_a_person_is_asked_before_another_try() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let good = bank.token.pin_file();
    let wrong = bank.path("wrong");
    crate::common::trust_framework::write_file(&wrong, "wrong pin", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", wrong.display()));
    bank.run(&["key", "list"]).expect(4);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    let (code, shown) = at_terminal(&bank, "key list", "no");
    assert_eq!(code, 4, "{shown}");
    assert!(
        shown.contains("no PIN was sent: the token says CKF_USER_PIN_COUNT_LOW"),
        "{shown}"
    );
    let (code, shown) = at_terminal(&bank, "key list", "yes");
    assert_eq!(code, 0, "{shown}");
    // A right PIN has reset the counter: nobody need be there any more.
    bank.run(&["key", "list"]).expect(0);
}

/// The token shows nothing of the wrong try: it is the record that asks.
#[test]
fn a_refused_pin_is_tried_again_when_a_person_answers_for_it() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "without CKF_USER_PIN_COUNT_LOW");
    let source = bank.path("pin");
    let fill = |pin: &str| crate::common::trust_framework::write_file(&source, pin, 0o600);
    fill("wrong pin");
    bank.configure(|settings| {
        settings.pin = format!("{{ command = [\"/bin/cat\", \"{}\"] }}", source.display());
    });
    chaos.run(&bank, &["key", "list"]).expect(4);
    fill(PIN);
    chaos.forget_calls();
    let at_keyboard = |typed| at_terminal_with(&bank, "key list", typed, &chaos.environment());
    let (code, shown) = at_keyboard("no");
    assert_eq!((code, chaos.calls("C_Login")), (4, 0), "{shown}");
    assert!(
        shown.contains("the token refused the PIN from command /bin/cat at "),
        "{shown}"
    );
    let (code, shown) = at_keyboard("yes");
    assert_eq!((code, chaos.calls("C_Login")), (0, 1), "{shown}");
    chaos.run(&bank, &["key", "list"]).expect(0);
}

/// What is pasted may hold more than it shows.
#[test]
fn what_no_keyboard_gives_is_not_sent_from_the_prompt() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "");
    bank.configure(|settings| settings.pin = "\"prompt\"".to_owned());
    chaos.forget_calls();
    let paste = |text: &str| at_terminal_with(&bank, "key list", text, &chaos.environment());
    for (text, what) in [
        (format!("{PIN}\u{a0}"), "a no-break space at its end"),
        (
            format!("\u{feff}{PIN}"),
            "a byte order mark (U+FEFF) at its start",
        ),
    ] {
        let (code, shown) = paste(&text);
        assert_eq!((code, chaos.calls("C_Login")), (4, 0), "{shown}");
        assert!(shown.contains("no PIN from the prompt: it has "), "{shown}");
        assert!(shown.contains(what) && !shown.contains(PIN), "{shown}");
    }
    let (code, shown) = paste(&format!("{PIN} "));
    assert_eq!((code, chaos.calls("C_Login")), (4, 1), "{shown}");
    assert!(
        shown.contains("the PIN from the prompt ends with a blank"),
        "{shown}"
    );
}
/// What appears on a terminal that is so wide, without colours.
pub(super) fn screen(bank: &Bank, columns: usize, arguments: &str) -> String {
    let command = format!(
        "stty cols {columns} rows 200 -onlcr; exec '{}' --config '{}' {arguments}",
        env!("CARGO_BIN_EXE_hsm-mtls"),
        bank.config_path().display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(bank.folder())
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .expect("script: part of Debian's bsdutils");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        let end = behind.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        rest = &behind[end + 1..];
    }
    plain + rest
}

/// Lines that the terminal would break, in a word or not, though they could have been broken between two.
pub(super) fn too_long(text: &str, columns: usize) -> Vec<&str> {
    // What the bar has shown is written over.
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let lines = lines.map(|line| line.rsplit('\r').next().unwrap_or_default());
    let long = lines.filter(|line| line.chars().count() > columns);
    long.filter(|line| line.split_whitespace().count() > 1)
        .collect()
}

#[test]
fn no_word_is_broken_however_wide_the_terminal_is() {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses/ledger.jsonl\"\n".to_owned();
    });
    bank.certify("rsa-2048");
    for columns in [40, 60, 80, 100, 200] {
        for arguments in [
            "config check",
            "token list",
            "token check -n 1",
            "token check -n 1 --load 20",
            "key list",
            "csr -o made.csr --force",
            "csr -o anchors.pem --force",
            "cert show",
            "cert show --min-days 9999",
            "cert install issued.pem",
            "ledger verify",
            "ledger show",
            "ledger show --counts",
            "ledger show --peer elsewhere.example",
            "verify",
            "request GET https://elsewhere.example/",
            "audit",
        ] {
            let shown = screen(&bank, columns, arguments);
            let long = too_long(&shown, columns);
            assert!(
                !shown.is_empty() && long.is_empty(),
                "{arguments} in {columns}: {long:#?}\n{shown}"
            );
        }
    }
    // In a pipe a line stays a line.
    let piped = bank.run(&["audit"]).stdout;
    assert!(
        piped.lines().any(|line| line.chars().count() > 100),
        "{piped}"
    );
}

#[test]
fn every_help_fits_a_terminal_of_80_columns() {
    let bank = Bank::new();
    let mut commands = vec![String::new()];
    let mut seen = 0;
    while let Some(command) = commands.pop() {
        seen += 1;
        for help in ["--help", "-h"] {
            let shown = screen(&bank, 80, &format!("{command} {help}"));
            let long = too_long(&shown, 80);
            assert!(
                shown.contains("Usage: ") && long.is_empty(),
                "{command} {help}: {long:#?}"
            );
        }
        let shown = bank
            .run(
                &[
                    &command.split_whitespace().collect::<Vec<_>>()[..],
                    &["--help"],
                ]
                .concat(),
            )
            .stdout;
        let below = shown.split("\nCommands:\n").nth(1).unwrap_or_default();
        let names = below.lines().take_while(|line| !line.is_empty());
        let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next());
        commands.extend(
            names
                .filter(|name| *name != "help")
                .map(|name| format!("{command} {name}")),
        );
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn an_audit_without_a_key_says_why_once() {
    let bank = Bank::new();
    let run = bank.run(&["audit"]).expect(2);
    let reason = "no private key matches";
    assert_eq!(run.stdout.matches(reason).count(), 1, "{}", run.stdout);
    assert!(!run.stderr.contains(reason), "{}", run.stderr);
    let page = bank.path("audit.html");
    bank.run(&["audit", "--html", page.to_str().unwrap()])
        .expect(2);
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches(reason).count(), 1, "{page}");
}
