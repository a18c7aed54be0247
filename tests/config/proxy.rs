//! `config check` says who may call the proxy, and refuses what `proxy` would refuse at its start,
//! in the same words.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::bank::{Bank, Run};
use crate::common::contract::contract;
use crate::common::proxy::Proxy;
use insta::assert_snapshot;
use serde_json::{Value, json};

const EVERY_KIND: &str = r#"
[proxy]
access_log = "log/access.jsonl"
max_connections = 64
max_age = "5m"
h2 = false

[[proxy.listener]]
unix = "own.sock"

[[proxy.listener]]
unix = "run/peers.sock"
mode = "0660"
owner = 0
group = 1000
callers = { uids = [1000, 1001], gids = [4242] }
upstream = "cm"
host_names = ["hub.local"]

[[proxy.listener]]
unix = "group.sock"
mode = "0660"
group = 1000
callers = "socket-mode"

[[proxy.listener]]
unix = "world.sock"
mode = "0666"
callers = "socket-mode"

[[proxy.listener]]
tcp = "127.0.0.1:8080"
callers = { token_file = "caller-token" }

[[proxy.listener]]
tcp = "[::1]:8081"
callers = "allow-any-local-process"
upstream = "hh"

[[proxy.listener]]
systemd = "hub"
callers = "socket-mode"

[proxy.operations]
tcp = "127.0.0.1:9464"
"#;

fn bank_with(sections: &str) -> Bank {
    let mut bank = Bank::new();
    let token = bank.write("caller-token", crate::common::proxy::TOKEN);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    bank.configure(|settings| settings.sections = sections.to_owned());
    bank
}

#[test]
fn each_listener_is_listed_with_who_may_call() {
    let bank = bank_with(EVERY_KIND);
    let run = bank.run(&["config", "check", "--json"]).expect(0);
    assert_snapshot!("for_programs", contract(&bank, &run));
    let run = bank.run(&["config", "check"]).expect(0);
    // The token's own words are above.
    let lines: Vec<_> = run
        .stdout
        .lines()
        .skip_while(|line| !line.contains("proxy listens on"))
        .collect();
    let said = crate::common::error_report::plain(&bank, &lines.join("\n"));
    assert_snapshot!("for_people", said);
    assert!(
        !run.stdout.contains(crate::common::proxy::TOKEN),
        "{}",
        run.stdout
    );
}

#[test]
fn without_a_proxy_nothing_is_said_of_one() {
    let bank = bank_with("");
    let report = bank.run(&["config", "check", "--json"]).expect(0).json();
    assert_eq!(report["configurations"][0]["proxy"], Value::Null);
    let run = bank.run(&["config", "check"]).expect(0);
    assert!(!run.stdout.contains("proxy"), "{}", run.stdout);
}

/// The first line that a command ended with.
fn word(run: &Run) -> &str {
    let mut lines = run.stderr.lines();
    let found = lines.find(|line| line.starts_with("error: "));
    found.unwrap_or_else(|| panic!("{run:?}"))
}

/// Both refuse, and say the same.
fn refused(bank: &Bank, expected: &str) {
    let check = bank.run(&["config", "check"]).expect(2);
    assert!(check.stdout.is_empty(), "{check:?}");
    assert!(word(&check).contains(expected), "{check:?}");
    let proxy = bank.run(&["proxy"]).expect(2);
    assert_eq!(word(&check), word(&proxy));
    assert!(check.stderr.contains("\nhint:"), "{check:?}");
}

#[test]
fn what_the_proxy_would_not_start_with_is_refused_in_its_words() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    Proxy::configure(&mut bank, "", "");
    bank.run(&["config", "check"]).expect(0);

    let token = bank.path("caller-token");
    let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    refused(
        &bank,
        "caller-token (root:root, mode 0640): its group may read it",
    );
    mode(0o600);
    fs::write(&token, "short").unwrap();
    refused(&bank, "20 to 200 letters");
    fs::remove_file(&token).unwrap();
    refused(&bank, "caller-token cannot be used: No such file");
    fs::write(&token, crate::common::proxy::TOKEN).unwrap();
    mode(0o600);
    std::os::unix::fs::chown(&token, Some(65534), None).unwrap();
    refused(&bank, "(nobody:root, mode 0600) belongs to another user");
    std::os::unix::fs::chown(&token, Some(0), None).unwrap();
    bank.run(&["config", "check"]).expect(0);

    // Where the certificate is, the front end may read.
    let pin = bank.write("pin", &fs::read_to_string(bank.token.pin_file()).unwrap());
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let before = format!("{{ file = \"{}\" }}", bank.token.pin_file().display());
    bank.configure(|settings| settings.pin = "{ file = \"pin\" }".to_owned());
    refused(&bank, "and the PIN (");
    bank.configure(|settings| {
        settings.pin = before;
        settings
            .sections
            .push_str("\n[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n");
    });
    refused(&bank, "and the ledger (");
}

#[test]
fn an_access_log_beside_the_pin_is_told_as_such() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let pin = bank.write(
        "keys/pin",
        &fs::read_to_string(bank.token.pin_file()).unwrap(),
    );
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    for file in ["c3.pem", "anchors.pem"] {
        fs::create_dir_all(bank.path("public")).unwrap();
        fs::rename(bank.path(file), bank.path("public").join(file)).unwrap();
    }
    let settings = "[proxy]\naccess_log = \"none\"\n[[proxy.listener]]\nunix = \"hub.sock\"\n";
    bank.configure(|set| {
        set.pin = "{ file = \"keys/pin\" }".to_owned();
        set.certificate = "public/c3.pem".to_owned();
        set.sections = settings.to_owned();
    });
    let config = fs::read_to_string(bank.config_path()).unwrap();
    let moved = config.replace("\"anchors.pem\"", "\"public/anchors.pem\"");
    for (place, beside) in [
        ("none", "the configuration file"),
        ("keys/access.jsonl", "the PIN file"),
    ] {
        fs::write(
            bank.config_path(),
            moved.replace("\"none\"", &format!("\"{place}\"")),
        )
        .unwrap();
        let expected = format!("because `access_log` is there, and {beside} (");
        refused(&bank, &expected);
        let check = bank.run(&["config", "check"]).expect(2);
        assert!(
            check.stderr.contains("\"off\" switches it off"),
            "{check:?}"
        );
    }
    fs::write(bank.config_path(), moved.replace("\"none\"", "\"off\"")).unwrap();
    bank.run(&["config", "check"]).expect(0);
}

#[test]
fn a_pin_that_the_proxy_does_not_take_is_named() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    Proxy::configure(&mut bank, "", "");
    for source in ["{ env = \"HSM_PIN\" }", "\"prompt\"", "\"protected-path\""] {
        bank.configure(|settings| settings.pin = source.to_owned());
        // `verify` and `request` may work with it.
        let run = bank.run(&["config", "check"]).expect(0);
        assert!(
            run.stdout
                .contains("note  `proxy` does not start with this file"),
            "{source}: {run:?}"
        );
        let report = bank.run(&["config", "check", "--json"]).expect(0).json();
        let notes = report["configurations"][0]["proxy"]["notes"].clone();
        assert_eq!(notes.as_array().unwrap().len(), 1, "{notes}");
        let proxy = bank.run(&["proxy"]).expect(2);
        assert!(
            word(&proxy).contains("is no source of the PIN here"),
            "{proxy:?}"
        );
    }
    // One that it takes has no note.
    let program = "{ command = [\"/bin/cat\", \"/nothing\"] }";
    bank.configure(|settings| settings.pin = program.to_owned());
    let report = bank.run(&["config", "check", "--json"]).expect(0).json();
    assert_eq!(report["configurations"][0]["proxy"]["notes"], json!([]));
}
