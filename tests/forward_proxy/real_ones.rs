//! squid and tinyproxy between us and the hub: with and without credentials, refusing, and with TLS before them.

use crate::common::forward_proxy::{ForwardProxy, PASSWORD, Serves, USER};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::ports;
use crate::setting::{account, bank_and_hub, set, step, with_credentials};

#[test]
fn verify_and_request_go_through_each_of_them() {
    let (mut bank, nginx) = bank_and_hub();
    for proxy in [
        ForwardProxy::squid(Serves::All),
        ForwardProxy::tinyproxy(Serves::All),
    ] {
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let run = bank.run(&["verify", "--json"]).expect(0);
        let found = step(&run, "forward proxy");
        assert_eq!(found["outcome"], "good", "{found}");
        assert_eq!(run.json()["services"][0]["forward_proxy"], proxy.url());
        // Before TLS, and in the place of what is the forward proxy's to do.
        let report = run.json();
        let steps = report["services"][0]["steps"].as_array().unwrap();
        let names = steps.iter().map(|step| step["name"].as_str().unwrap());
        let names: Vec<_> = names.take(2).collect();
        assert_eq!(names, ["forward proxy", "tls"]);
        proxy.logged(&format!("CONNECT localhost:{}", nginx.port()));
        let run = bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(0);
        assert!(run.stdout.contains("established"), "{run:?}");
    }
    let accesses = nginx.wait_for_accesses(6);
    assert!(
        accesses.iter().all(|access| access.verify == "SUCCESS"),
        "{accesses:?}"
    );
}

#[test]
fn credentials_are_sent_and_what_is_refused_is_told() {
    let (mut bank, _nginx) = bank_and_hub();
    for proxy in [
        ForwardProxy::squid(Serves::Account),
        ForwardProxy::tinyproxy(Serves::Account),
    ] {
        let url = proxy.url();
        set(&mut bank, &format!("proxy = \"{url}\""));
        let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
        let detail = failed["detail"].as_str().unwrap();
        assert!(
            detail.contains("wants credentials, and none are configured (407; it takes Basic"),
            "{detail}"
        );
        assert!(
            failed["hint"]
                .as_str()
                .unwrap()
                .contains("proxy_credentials"),
            "{failed}"
        );
        let lines = with_credentials(&bank, &url, &format!("{USER}:another"));
        set(&mut bank, &lines);
        let run = bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(5);
        assert!(
            run.stderr.contains("refuses the credentials of file"),
            "{run:?}"
        );
        assert!(!run.stderr.contains("another"), "{run:?}");
        let lines = with_credentials(&bank, &url, &account());
        set(&mut bank, &lines);
        let run = bank.run(&["verify", "--json"]).expect(0);
        assert_eq!(step(&run, "forward proxy")["outcome"], "good");
        bank.run(&["request", "GET", "hh:/hello-mtls"]).expect(0);
    }
}

#[test]
fn a_refusal_and_a_hub_that_it_does_not_reach_are_told_apart() {
    let (mut bank, _nginx) = bank_and_hub();
    let refusing = [
        ForwardProxy::squid(Serves::Nobody),
        ForwardProxy::tinyproxy(Serves::Nobody),
    ];
    for proxy in &refusing {
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
        assert!(
            failed["detail"]
                .as_str()
                .unwrap()
                .contains("refuses CONNECT (403"),
            "{failed}"
        );
        assert!(
            failed["hint"]
                .as_str()
                .unwrap()
                .contains("to allow CONNECT to localhost:"),
            "{failed}"
        );
    }
    bank.hub_at(ports::unused());
    for proxy in [
        ForwardProxy::squid(Serves::All),
        ForwardProxy::tinyproxy(Serves::All),
    ] {
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
        assert!(
            failed["detail"]
                .as_str()
                .unwrap()
                .contains("did not reach the hub (50"),
            "{failed}"
        );
        assert!(
            failed["hint"]
                .as_str()
                .unwrap()
                .contains("not the one from here"),
            "{failed}"
        );
    }
}

#[test]
fn one_at_https_has_roots_of_its_own_and_sees_no_certificate_of_ours() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    // The relay behind its TLS sees what the outer TLS had in it.
    let relay = OddForwardProxy::start(Does::Relays(([127, 0, 0, 1], squid.port()).into()));
    let port = relay.url().rsplit(':').next().unwrap().parse().unwrap();
    let identity = bank.framework.issue_server(&["localhost"]);
    let outer = ForwardProxy::stunnel(&identity, port);
    let url = format!("https://localhost:{}", outer.port());
    let credentials = with_credentials(&bank, &url, &account());
    // Not one of the public roots.
    set(&mut bank, &credentials);
    let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
    assert!(
        failed["detail"]
            .as_str()
            .unwrap()
            .contains("cannot be spoken to by TLS"),
        "{failed}"
    );
    assert!(
        failed["hint"].as_str().unwrap().contains("proxy_anchors"),
        "{failed}"
    );
    bank.write("fp.pem", &bank.framework.bundle_pem());
    set(
        &mut bank,
        &format!("{credentials}\nproxy_anchors = \"fp.pem\""),
    );
    let run = bank.run(&["verify", "--json"]).expect(0);
    assert_eq!(step(&run, "forward proxy")["outcome"], "good");
    bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(0);
    squid.logged(USER);
    let log = outer.log();
    assert!(
        !log.contains(crate::common::bank::CLIENT_ID) && !log.contains("CERT: "),
        "{log}"
    );
    let seen = String::from_utf8_lossy(&relay.seen()).into_owned();
    assert!(seen.contains("CONNECT localhost:") && !seen.contains(PASSWORD));
    // One that speaks no TLS.
    let plain = squid.url().replace("http://127.0.0.1", "https://localhost");
    set(
        &mut bank,
        &format!("proxy = \"{plain}\"\nproxy_anchors = \"fp.pem\""),
    );
    let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
    assert!(
        failed["detail"].as_str().unwrap().contains("TLS"),
        "{failed}"
    );
    // And one at https that is taken for a plain one.
    let tls = outer.url();
    set(&mut bank, &format!("proxy = \"{tls}\""));
    step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
}
