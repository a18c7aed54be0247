//! The local proxy behind a forward proxy: thousands of requests, problem documents of its own, and no password that is tried again
//! and again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use crate::common::blocking_client::{HOST, places};
use crate::common::forward_proxy::{ForwardProxy, Serves, USER};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::poll::until;
use crate::common::proxy::{Proxy, body};
use crate::setting::{account, bank_and_hub, with_credentials};

#[test]
fn two_thousand_requests_are_answered_through_squid() {
    let (mut bank, nginx) = bank_and_hub();
    nginx.serve_file("hello", "hello", Duration::ZERO);
    let squid = ForwardProxy::squid(Serves::Account);
    let lines = with_credentials(&bank, &squid.url(), &account());
    let ports = Proxy::configure(&mut bank, "", &format!("[network]\n{lines}\n"));
    let proxy = Proxy::start(&bank, ports);
    let places = places(&proxy, ports);
    let callers = (0..4).map(|caller| {
        let (place, start) = places[caller % 2].clone();
        thread::spawn(move || {
            let mut wire = place.connect();
            let service = if caller < 2 { "cm" } else { "hh" };
            for number in 0..500 {
                wire.send(
                    format!("GET {start}/{service}/files/hello HTTP/1.1\r\n{HOST}\r\n").as_bytes(),
                )
                .unwrap();
                let answer = wire.answer().unwrap();
                assert_eq!(answer.status, 200, "{number}: {answer:?}");
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        caller.join().unwrap();
    }
    let accesses = nginx.wait_for_accesses(2000);
    assert!(accesses.iter().all(|access| access.verify == "SUCCESS"));
    // nginx ends each connection after 50 requests.
    until("the tunnels in squid's log", || {
        squid.log().matches("CONNECT").count() >= 20
    });
    assert!(squid.log().contains(USER));
}

#[test]
fn a_reload_and_a_front_end_that_is_started_again_keep_the_way() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::All);
    let section = format!(
        "[network]\nproxy = \"{}\"\nsource_address = \"127.0.0.78\"\n",
        squid.url()
    );
    let ports = Proxy::configure(&mut bank, "", &section);
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/hello-mtls").0, 200);
    proxy.signal("HUP");
    until("the reload", || {
        proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "good")]) == 1.0
    });
    assert_eq!(proxy.get("/hh/hello-mtls").0, 200);
    // Another forward proxy takes a restart.
    let text = fs::read_to_string(bank.config_path()).unwrap();
    fs::write(
        bank.config_path(),
        text.replace(&squid.url(), "http://127.0.0.1:1"),
    )
    .unwrap();
    proxy.signal("HUP");
    until("the refusal", || {
        proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "failed")]) == 1.0
    });
    assert!(proxy.log().contains("[network]"), "{}", proxy.log());
    assert_eq!(proxy.get("/cm/hello-mtls").0, 200);
    // It writes of a tunnel when that has ended.
    drop(proxy);
    squid.logged("127.0.0.78");
}

#[test]
fn a_problem_names_the_forward_proxy_and_ends_with_it() {
    let (mut bank, _nginx) = bank_and_hub();
    let mut squid = Some(ForwardProxy::squid(Serves::All));
    let url = squid.as_ref().unwrap().url();
    let lines = "warm_connections = 0\nidle_timeout = \"1ms\"";
    let ports = Proxy::configure(&mut bank, lines, &format!("[network]\nproxy = \"{url}\"\n"));
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/hello-mtls").0, 200);
    drop(squid.take());
    until("the problem", || proxy.get("/cm/hello-mtls").0 == 502);
    let (_, answer) = proxy.get("/cm/hello-mtls");
    let problem = body(&answer);
    assert_eq!(problem["stage"], "forward-proxy", "{problem}");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: 1\r\n"),
        "{answer}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains(&url),
        "{problem}"
    );
    let opened = proxy.metric(
        "hsm_mtls_proxy_connections_opened_total",
        &[("result", "forward-proxy")],
    );
    assert!(opened >= 1.0);
    // A hub that a forward proxy hangs before is late, and not broken.
    let hangs = OddForwardProxy::start(Does::Hangs);
    drop(proxy);
    bank.configure(|settings| settings.hub_lines = "connect_timeout = \"500ms\"".to_owned());
    let ports = Proxy::configure(
        &mut bank,
        lines,
        &format!("[network]\nproxy = \"{}\"\n", hangs.url()),
    );
    let proxy = Proxy::start(&bank, ports);
    let (status, answer) = proxy.get("/cm/hello-mtls");
    assert_eq!(
        (status, body(&answer)["stage"].as_str()),
        (504, Some("forward-proxy")),
        "{answer}"
    );
}

#[test]
fn a_password_that_was_refused_is_not_tried_again_until_the_source_has_another() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    let lines = with_credentials(&bank, &squid.url(), &format!("{USER}:wrong"));
    let ports = Proxy::configure(&mut bank, "", &format!("[network]\n{lines}\n"));
    let proxy = Proxy::start(&bank, ports);
    for _ in 0..30 {
        let (status, answer) = proxy.get("/cm/hello-mtls");
        assert_eq!(
            (status, body(&answer)["stage"].as_str()),
            (502, Some("forward-proxy")),
            "{answer}"
        );
    }
    // Two pools with warm connections and thirty requests: the account sees a handful at the most.
    let tried = squid.log().matches("/407 ").count();
    assert!((1..=4).contains(&tried), "{tried}: {}", squid.log());
    with_credentials(&bank, &squid.url(), &account());
    until("the new password", || proxy.get("/cm/hello-mtls").0 == 200);
}

#[test]
fn the_front_end_knows_a_credential_of_systemds_beside_the_pin_and_the_environment() {
    let (mut bank, _nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    let folder = tempfile::tempdir().unwrap();
    let pin = fs::read_to_string(bank.token.pin_file()).unwrap();
    for (name, content) in [("hsm-pin", pin), ("forward-proxy", account())] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    bank.configure(|settings| settings.pin = "{ credential = \"hsm-pin\" }".to_owned());
    let source = "proxy_credentials = { credential = \"forward-proxy\" }";
    for (line, variables) in [
        (format!("proxy = \"{}\"", squid.url()), Vec::new()),
        (
            "proxy = \"environment\"".to_owned(),
            vec![("https_proxy", squid.url().into())],
        ),
    ] {
        let section = format!("[network]\n{line}\n{source}\n");
        let ports = Proxy::configure(&mut bank, "", &section);
        let all = [
            &[("CREDENTIALS_DIRECTORY", folder.path().to_owned())][..],
            &variables,
        ]
        .concat();
        let proxy = Proxy::start_with(&bank, ports, &all);
        let (status, answer) = proxy.get("/cm/hello-mtls");
        assert_eq!(status, 200, "{line}: {answer}");
        // The same configuration, by other words in the front end's part of it.
        proxy.signal("HUP");
        until("the reload", || {
            proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "good")]) == 1.0
        });
    }
}
