//! What goes wrong with a forward proxy, each told by its own words, and apart from what is wrong with the hub.

use std::net::{Ipv4Addr, TcpListener};

use crate::common::misbehaving::certificate::authority;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::ports;
use crate::common::trust_framework::{Kind, TrustFramework};
use crate::setting::{bank_and_hub, set, step, with_credentials};

#[test]
fn each_way_of_failing_in_connect_has_its_words() {
    let (mut bank, nginx) = bank_and_hub();
    bank.configure(|settings| settings.hub_lines = "connect_timeout = \"700ms\"".to_owned());
    let page = "<html><head><title>Access\x1b[31m denied</title></head><body>You</body></html>";
    let answer = |head: &str, body: &str| {
        let text = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Does::Answers(text.into_bytes())
    };
    let bytes = |text: &str| Does::Answers(text.as_bytes().to_vec());
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    for (does, words) in [
        (Does::Hangs, "did not answer CONNECT within 700 ms"),
        (Does::Resets, "reset the connection without a whole answer"),
        (bytes(""), "closed the connection without a whole answer"),
        (
            bytes("HTTP/1.1 200 Conn"),
            "closed the connection without a whole answer",
        ),
        (
            bytes("HTTP/1.1 200 OK\r\nvia: x\r\n"),
            "closed the connection without a whole answer",
        ),
        (
            bytes("SSH-2.0-OpenSSH_9.2\r\n"),
            "does not answer CONNECT in HTTP",
        ),
        (
            bytes("<html>login</html>\r\n\r\n"),
            "does not answer CONNECT in HTTP",
        ),
        (bytes(&long), "does not answer CONNECT in HTTP"),
        (
            bytes("HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03hello"),
            "sent 8 bytes behind its answer",
        ),
        (
            answer("407 No\r\nproxy-authenticate: Negotiate", page),
            "it takes Negotiate; it says: Access[31m denied",
        ),
        (
            answer("403 Forbidden", page),
            "refuses CONNECT (403; it says: Access[31m denied)",
        ),
        (
            answer("302 Found\r\nlocation: http://portal/", ""),
            "refuses CONNECT (302)",
        ),
        (
            answer("504 Gateway Timeout", "no route"),
            "did not reach the hub (504; it says: no route)",
        ),
        // A page without an end.
        (
            bytes("HTTP/1.1 503 Busy\r\ncontent-length: 9999\r\n\r\nhalf"),
            "did not reach the hub (503",
        ),
    ] {
        let proxy = OddForwardProxy::start(does.clone());
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let run = bank.run(&["verify", "--json"]).expect(5);
        let failed = step(&run, "forward proxy");
        let detail = failed["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{does:?}: {detail}");
        assert!(
            detail.starts_with(&format!("the forward proxy {} ", proxy.url())),
            "{detail}"
        );
        assert!(!detail.contains('\x1b') && !failed["hint"].as_str().unwrap().is_empty());
        assert_eq!(step(&run, "tls")["outcome"], "not-reached");
    }
    assert!(nginx.accesses().is_empty());
}

#[test]
fn one_that_cannot_be_reached_is_not_taken_for_the_hub() {
    let (mut bank, _nginx) = bank_and_hub();
    bank.configure(|settings| settings.hub_lines = "connect_timeout = \"700ms\"".to_owned());
    let refused = format!("http://127.0.0.1:{}", ports::unused());
    for (url, words) in [
        (refused.as_str(), "cannot be reached: 127.0.0.1"),
        ("http://no-such-proxy.invalid:3128", "cannot be resolved"),
    ] {
        set(&mut bank, &format!("proxy = \"{url}\""));
        let failed = step(&bank.run(&["verify", "--json"]).expect(5), "forward proxy");
        let detail = failed["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
        assert!(
            failed["hint"].as_str().unwrap().contains("[network]"),
            "{failed}"
        );
        let run = bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(5);
        assert!(
            run.stderr.contains(&format!("the forward proxy {url} ")),
            "{run:?}"
        );
    }
}

#[test]
fn what_ends_in_the_tunnel_is_told_with_the_forward_proxy_and_a_middlebox_as_before() {
    let (mut bank, _nginx) = bank_and_hub();
    bank.configure(|settings| settings.hub_lines = "connect_timeout = \"700ms\"".to_owned());
    for does in [Does::ResetsTunnel, Does::SwallowsTunnel] {
        let proxy = OddForwardProxy::start(does.clone());
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let run = bank.run(&["verify", "--json"]).expect(5);
        assert_eq!(step(&run, "forward proxy")["outcome"], "good", "{does:?}");
        let failed = step(&run, "tls");
        let words = format!(
            "in the tunnel that the forward proxy {} had made",
            proxy.url()
        );
        assert!(
            failed["detail"].as_str().unwrap().contains(&words),
            "{does:?} {failed}"
        );
    }
    // What looks into TLS presents a certificate of its own, which no anchor of ours knows.
    let strange = TrustFramework::new(Kind::Sandbox);
    let middlebox = Nginx::start(&NginxOptions::of(&strange, &["localhost", "127.0.0.1"]));
    bank.hub_at(middlebox.port());
    let squid = crate::common::forward_proxy::ForwardProxy::squid(
        crate::common::forward_proxy::Serves::All,
    );
    set(&mut bank, &format!("proxy = \"{}\"", squid.url()));
    let run = bank.run(&["verify", "--json"]).expect(5);
    assert_eq!(step(&run, "forward proxy")["outcome"], "good");
    assert_eq!(step(&run, "server certificate")["outcome"], "bad");
    assert!(middlebox.accesses().is_empty());
}

#[test]
fn credentials_that_cannot_be_used_are_an_error_before_anything_is_sent() {
    let (mut bank, _nginx) = bank_and_hub();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for (content, words) in [
        ("", "it is empty"),
        ("s3cret", "no colon"),
        ("a:s3cret\nb:c\n", "several lines"),
    ] {
        let lines = with_credentials(&bank, &url, content);
        set(&mut bank, &lines);
        let run = bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(2);
        assert!(run.stderr.contains(words), "{run:?}");
        assert!(!run.stderr.contains("s3cret"), "{run:?}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it was called");
    // Others could read it.
    let lines = with_credentials(&bank, &url, "a:b");
    set(&mut bank, &lines);
    let path = bank.path("fp/credentials");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).unwrap();
    let run = bank.run(&["config", "check"]).expect(2);
    assert!(
        run.stderr.contains("the credentials of the forward proxy"),
        "{run:?}"
    );
    assert!(run.stderr.contains("chmod"), "{run:?}");
    // Anchors that are none.
    bank.write("fp.pem", "no certificate");
    let lines = "proxy = \"https://localhost:1\"\nproxy_anchors = \"fp.pem\"";
    set(&mut bank, lines);
    let run = bank.run(&["verify"]).expect(2);
    assert!(
        run.stderr.contains("`proxy_anchors` cannot be used"),
        "{run:?}"
    );
    bank.write("fp.pem", &authority("Their CA").0);
    bank.run(&["verify"]).expect(5);
}
