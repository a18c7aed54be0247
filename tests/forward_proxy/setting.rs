//! What the configuration and the environment say of a forward proxy; and a bank that has one, for the other tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::common::bank::{Bank, Run};
use crate::common::forward_proxy::{ForwardProxy, PASSWORD, Serves, USER};
use crate::common::nginx::{Nginx, NginxOptions, Protocols};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::ports;

/// A bank with a C3, and nginx as both services of its hub.
pub(super) fn bank_and_hub() -> (Bank, Nginx) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.protocols = Protocols::Tls13;
    options.requests_per_connection = 50;
    let nginx = Nginx::start(&options);
    bank.hub_at(nginx.port());
    (bank, nginx)
}

/// Writes `[network]` with these lines.
pub(super) fn set(bank: &mut Bank, lines: &str) {
    let section = format!("[network]\n{lines}\n");
    bank.configure(|settings| settings.sections = section);
}

/// The line for a forward proxy, and its credentials in a file of mode 600.
pub(super) fn with_credentials(bank: &Bank, url: &str, credentials: &str) -> String {
    let path = bank.write("fp/credentials", credentials);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("proxy = \"{url}\"\nproxy_credentials = {{ file = \"fp/credentials\" }}")
}

pub(super) fn account() -> String {
    format!("{USER}:{PASSWORD}\n")
}

/// The step of this name, of the first service.
pub(super) fn step(run: &Run, name: &str) -> Value {
    let report = run.json();
    let steps = report["services"][0]["steps"].as_array().unwrap().clone();
    let found = steps.iter().find(|step| step["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn the_environment_counts_where_the_configuration_says_so_and_else_it_is_said_once() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    let url = squid
        .url()
        .replace("//", &format!("//{USER}:{}@", PASSWORD.replace('.', "%2E")));
    let variables = [("HTTPS_PROXY", Path::new(&url))];
    // Nothing is configured: directly, with a note.
    let run = bank.run_with(&["verify"], &variables).expect(0);
    assert_eq!(
        run.stderr.matches("HTTPS_PROXY is ignored").count(),
        1,
        "{run:?}"
    );
    assert!(!run.stderr.contains(PASSWORD) && !squid.log().contains("CONNECT"));
    let run = bank.run_with(&["config", "check"], &variables).expect(0);
    assert_eq!(
        run.stdout.matches("HTTPS_PROXY is ignored").count(),
        1,
        "{run:?}"
    );
    let run = bank.run(&["config", "check"]).expect(0);
    assert!(!run.stdout.contains("HTTPS_PROXY"), "{run:?}");
    set(&mut bank, "proxy = \"direct\"");
    let run = bank.run_with(&["verify"], &variables).expect(0);
    assert!(!run.stderr.contains("HTTPS_PROXY"), "{run:?}");
    // With its user name and password.
    set(&mut bank, "proxy = \"environment\"");
    let run = bank.run_with(&["verify", "--json"], &variables).expect(0);
    assert_eq!(step(&run, "forward proxy")["outcome"], "good");
    squid.logged("CONNECT localhost");
    let run = bank.run_with(&["config", "check"], &variables).expect(0);
    assert!(
        run.stdout.contains("of the variable HTTPS_PROXY"),
        "{run:?}"
    );
    assert!(!run.stdout.contains("W0rd"), "{run:?}");
    // NO_PROXY leaves both services out; without a variable it is direct.
    let both = [
        variables[0],
        ("NO_PROXY", Path::new("localhost,127.0.0.0/8")),
    ];
    let run = bank.run_with(&["verify", "--json"], &both).expect(0);
    assert_eq!(step(&run, "tcp")["outcome"], "good");
    bank.run(&["verify"]).expect(0);
    // Another scheme is an error of the configuration, without the value.
    let socks = [("ALL_PROXY", Path::new("socks5://a:s3cret@127.0.0.1:1080"))];
    let run = bank.run_with(&["verify"], &socks).expect(2);
    assert!(
        run.stderr.contains("ALL_PROXY") && run.stderr.contains("SOCKS"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("s3cret"), "{run:?}");
}

#[test]
fn a_host_that_is_left_out_is_connected_to_directly() {
    let (mut bank, _nginx) = bank_and_hub();
    let nowhere = format!("http://127.0.0.1:{}", ports::unused());
    set(
        &mut bank,
        &format!("proxy = \"{nowhere}\"\nno_proxy = [\"localhost\"]"),
    );
    let run = bank.run(&["verify", "--json"]).expect(5);
    let report = run.json();
    assert_eq!(report["services"][0]["established"], true, "{report:#}");
    assert_eq!(report["services"][0]["forward_proxy"], Value::Null);
    assert_eq!(report["services"][1]["established"], false);
    assert_eq!(report["services"][1]["forward_proxy"], nowhere.as_str());
}

#[test]
fn who_resolves_the_name_is_as_configured() {
    let (mut bank, nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::All);
    let relay = OddForwardProxy::start(Does::Relays(([127, 0, 0, 1], squid.port()).into()));
    let line = format!("proxy = \"{}\"", relay.url());
    set(&mut bank, &format!("{line}\nresolve = \"local\""));
    let run = bank.run(&["verify", "--json"]).expect(0);
    assert_eq!(step(&run, "name resolution")["outcome"], "good");
    let seen = String::from_utf8_lossy(&relay.seen()).into_owned();
    assert!(
        seen.contains(&format!("CONNECT 127.0.0.1:{}", nginx.port())),
        "{seen}"
    );
    assert!(!seen.contains("CONNECT localhost"), "{seen}");
    // A name that only the forward proxy knows is not looked up here.
    set(&mut bank, &line);
    bank.configure(|settings| settings.consent_manager = "https://no-such.invalid:443".to_owned());
    let run = bank.run(&["verify", "--json"]).expect(5);
    let failed = step(&run, "forward proxy");
    let detail = failed["detail"].as_str().unwrap();
    assert!(
        detail.contains("did not reach the hub (50") && detail.contains("ERR_"),
        "{failed}"
    );
}

#[test]
fn connections_come_from_the_address_that_is_configured() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::All);
    let url = squid.url();
    set(
        &mut bank,
        &format!("proxy = \"{url}\"\nsource_address = \"127.0.0.77\""),
    );
    bank.run(&["verify"]).expect(0);
    squid.logged("127.0.0.77");
    set(&mut bank, "source_address = \"127.0.0.77\"");
    bank.run(&["verify"]).expect(0);
    set(&mut bank, "source_address = \"192.0.2.77\"");
    let run = bank.run(&["verify", "--json"]).expect(5);
    let detail = step(&run, "tcp")["detail"].to_string();
    assert!(detail.contains("no address of this machine"), "{detail}");
}
