//! What the proxy's tokens do with a hub whose clock is off, and with one that loses requests: `iat` follows this machine's clock, the
//! difference is said, and a retry carries a token of its own.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::common::bank::Bank;
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::raw_hub::{RawHub, Then};
use crate::common::sig4;

fn scene(lines: &str) -> (Bank, RawHub, Proxy) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let hub = RawHub::start(&bank.framework);
    bank.hub_at(hub.port());
    let proxy_lines = "jwt = \"both\"\nh2 = false";
    let ports = Proxy::configure(&mut bank, proxy_lines, &sig4::section(lines));
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

fn answer_at(date: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\nok")
}

fn tokens(hub: &RawHub) -> Vec<String> {
    let requests = hub.requests().into_iter();
    let of_request = |lines: Vec<String>| {
        let mut found = lines.into_iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_ours = name.eq_ignore_ascii_case("authorization");
            is_ours.then(|| value.trim().to_owned())
        });
        let token = found.next().expect("a token");
        assert_eq!(found.next(), None);
        token
    };
    requests.map(|request| of_request(request.head)).collect()
}

#[test]
fn a_hub_whose_clock_is_off_is_said_and_not_followed() {
    let (_bank, hub, proxy) = scene("max_clock_skew = \"60s\"");
    hub.answers(answer_at("Mon, 01 Jan 2024 00:00:00 GMT"), Then::Next);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let ready = proxy.ready();
    assert_eq!(ready["jwt"]["hub_clock_is_beyond_bound"], true, "{ready:#}");
    assert!(ready["jwt"]["hub_clock_ahead_seconds"].as_i64().unwrap() < -3600);
    assert_eq!(ready["jwt"]["good"], true, "{ready:#}");
    until("a warning", || {
        proxy.log().contains("the hub's clock differs")
    });
    // The next token is of this machine's time: the signer would sign no other.
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let now = httpdate::fmt_http_date(SystemTime::now());
    hub.answers(answer_at(&now), Then::Next);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let ready = proxy.ready();
    assert_eq!(
        ready["jwt"]["hub_clock_is_beyond_bound"], false,
        "{ready:#}"
    );
    assert_eq!(tokens(&hub).len(), 3);
}

#[test]
fn a_request_that_is_sent_again_carries_another_token() {
    let (_bank, hub, proxy) = scene("");
    proxy.warm("cm", 2);
    hub.answers("", Then::Cut);
    let (code, answer) = proxy.get("/cm/consents/1");
    assert_eq!(code, 502, "{answer}");
    let sent = tokens(&hub);
    assert!(sent.len() > 1, "it was not sent again");
    let different: BTreeSet<_> = sent.iter().collect();
    assert_eq!(different.len(), sent.len());
}
