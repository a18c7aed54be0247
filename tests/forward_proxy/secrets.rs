//! What a forward proxy gets to see, and where its credentials get to: our certificate is not on the wire to it, and the password is
//! in no log, no report and no answer.

use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::common::bank::CLIENT_ID;
use crate::common::forward_proxy::{ForwardProxy, PASSWORD, Serves, USER};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::proxy::Proxy;
use crate::setting::{account, bank_and_hub, set, with_credentials};

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// DER of the first certificate of a PEM file.
fn der(pem: &str) -> Vec<u8> {
    let body: String = pem
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    BASE64_STANDARD.decode(body).unwrap()
}

#[test]
fn the_certificate_is_not_on_the_wire_to_a_forward_proxy() {
    let (mut bank, nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::All);
    let relay = OddForwardProxy::start(Does::Relays(([127, 0, 0, 1], squid.port()).into()));
    set(&mut bank, &format!("proxy = \"{}\"", relay.url()));
    bank.run(&["verify"]).expect(0);
    bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(0);
    let seen = relay.seen();
    let connect = format!("CONNECT localhost:{} HTTP/1.1\r\n", nginx.port());
    assert!(contains(&seen, connect.as_bytes()));
    let certificate = der(&std::fs::read_to_string(bank.path("c3.pem")).unwrap());
    // Not as a whole, not its key or its subject, and nothing of the request.
    for (what, part) in [
        ("C3", &certificate[..]),
        ("a part of C3", &certificate[certificate.len() / 2..][..64]),
        ("its subject", CLIENT_ID.as_bytes()),
        ("the path", b"hello-mtls"),
        ("the id", b"x-fapi-interaction-id"),
    ] {
        assert!(!contains(&seen, part), "{what}");
    }
    assert!(relay.connections() >= 3, "{}", relay.connections());
}

#[test]
fn the_password_is_in_no_log_report_or_answer() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    let other = "0ther-W0rd-of-nobody";
    for (credentials, code) in [(account(), 0), (format!("{USER}:{other}"), 5)] {
        let lines = with_credentials(&bank, &squid.url(), &credentials);
        set(&mut bank, &lines);
        let base64 = BASE64_STANDARD.encode(credentials.trim_end());
        let secrets = [PASSWORD, other, &base64];
        let clean = |text: &str| {
            for secret in secrets {
                assert!(!text.contains(secret), "{text}");
            }
        };
        for command in [
            &["verify"][..],
            &["verify", "--json"],
            &["request", "GET", "cm:/hello-mtls"],
            &["config", "check"],
            &["config", "check", "--json"],
            &["verify", "--evidence", "-", "--json"],
        ] {
            let arguments = [&["-vvv"][..], command].concat();
            let run = bank.run(&arguments);
            let expected = if command[0] == "config" { 0 } else { code };
            assert!([expected, 2].contains(&run.code), "{command:?} {run:?}");
            clean(&run.stdout);
            clean(&run.stderr);
        }
        let section = format!("[network]\n{lines}\n");
        let ports = Proxy::configure(&mut bank, "", &section);
        let mut command = Proxy::command(&bank, &[]);
        let log = std::fs::File::create(bank.path("proxy.log")).unwrap();
        command.arg("-vvv").stdout(Stdio::null()).stderr(log);
        let proxy = Proxy::start_command(&bank, ports, command);
        let (status, answer) = proxy.get("/cm/hello-mtls");
        assert_eq!(status, if code == 0 { 200 } else { 502 }, "{answer}");
        clean(&answer);
        clean(&proxy.operations("/readyz").1);
        clean(&proxy.operations("/metrics").1);
        clean(&proxy.log());
        clean(&std::fs::read_to_string(bank.path("log/access.jsonl")).unwrap());
    }
}
