//! Web pages in a browser on this machine: they reach TCP ports of loopback, also by a name of their own (DNS rebinding),
//! and are told from applications by what their browser says of them.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::{Ports, Proxy, TOKEN};

struct Scene {
    _bank: Bank,
    hub: Hub,
    proxy: Proxy,
    ports: Ports,
    /// A port for every process of this machine.
    open: SocketAddr,
}

/// `operations` are further lines of [proxy.operations].
fn scene(operations: &str) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let open: SocketAddr = ([127, 0, 0, 1], crate::common::ports::unused()).into();
    let listener = format!(
        "{operations}\n\n[[proxy.listener]]\ntcp = \"{open}\"\n\
         callers = \"allow-any-local-process\"\nhost_names = [\"hub.internal\"]\n"
    );
    let ports = Proxy::configure(&mut bank, "", &listener);
    let proxy = Proxy::start(&bank, ports);
    Scene {
        _bank: bank,
        hub,
        proxy,
        ports,
        open,
    }
}

/// Status and body of what curl gets.
fn curl(args: &[&str], url: &str) -> (u16, String) {
    let done = Command::new("curl")
        .args(["--silent", "--max-time", "10", "-w", "\n%{http_code}"])
        .args(args)
        .arg(url)
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

const FORM: [&str; 4] = [
    "--data",
    "amount=1",
    "-H",
    "Content-Type: application/x-www-form-urlencoded",
];

#[test]
fn a_page_of_another_origin_reaches_no_tcp_listener() {
    let scene = scene("");
    let token = format!("X-HSM-MTLS-Caller: {TOKEN}");
    for (address, with) in [
        (scene.open, &[][..]),
        (scene.ports.tcp, &["-H", token.as_str()]),
    ] {
        let before = scene.hub.seen().len();
        let url = format!("http://{address}/cm/consents/1");
        let own = format!("Origin: http://{address}");
        let ask = |method: &str, lines: &[&str]| {
            let mut args = vec!["-X", method];
            args.extend(with);
            for line in lines {
                args.extend(["-H", line]);
            }
            if method != "GET" && method != "OPTIONS" {
                args.extend(FORM);
            }
            curl(&args, &url)
        };
        for (method, lines) in [
            // The POST of a form, as browsers send it, and of one that tells the origin only.
            (
                "PATCH",
                &["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"][..],
            ),
            ("PATCH", &["Origin: https://evil.example"]),
            // An image.
            ("GET", &["Sec-Fetch-Site: cross-site"]),
            // A page of another port of this machine.
            (
                "GET",
                &["Origin: http://127.0.0.1:1", "Sec-Fetch-Site: same-site"],
            ),
            ("GET", &["Sec-Fetch-Site: same-site"]),
            // A sandboxed page, a file.
            ("PATCH", &["Origin: null"]),
            // The question whether the page may.
            (
                "OPTIONS",
                &[
                    "Origin: https://evil.example",
                    "Access-Control-Request-Method: PATCH",
                ],
            ),
        ] {
            let (code, text) = ask(method, lines);
            assert_eq!(code, 403, "{method} {lines:?}: {text}");
            let problem: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["stage"], "origin", "{lines:?}");
            assert_eq!(problem["type"], "urn:hsm-mtls:problem:origin");
        }
        assert_eq!(scene.hub.seen().len(), before, "{:?}", scene.hub.seen());
        // Programs, what the user typed, and a page that came from here.
        for lines in [
            &[][..],
            &["Sec-Fetch-Site: none"],
            &[own.as_str(), "Sec-Fetch-Site: same-origin"],
        ] {
            assert_eq!(ask("PATCH", lines).0, 200, "{lines:?}");
        }
        assert_eq!(scene.hub.seen().len(), before + 3);
    }
    let rebound = ["-H", "Host: evil.example"];
    let (code, text) = curl(&rebound, &format!("http://{}/cm/consents/1", scene.open));
    assert_eq!(code, 421, "{text}");
    // A name of the listener, behind a server that speaks TLS.
    let named = [
        "-H",
        "Host: hub.internal",
        "-H",
        "Origin: https://hub.internal",
    ];
    let (code, text) = curl(&named, &format!("http://{}/cm/consents/1", scene.open));
    assert_eq!(code, 200, "{text}");
    // No page reaches a Unix socket: what a browser said to the application is passed on.
    let socket = scene.proxy.socket().display().to_string();
    let over_unix = [
        "--unix-socket",
        &socket,
        "-H",
        "Origin: https://bank.example",
        "-H",
        "Sec-Fetch-Site: cross-site",
    ];
    assert_eq!(curl(&over_unix, "http://localhost/cm/consents/1").0, 200);
}

#[test]
fn operations_answer_by_their_own_names_only() {
    let scene = scene("host_names = [\"metrics.internal\"]");
    let address = scene.ports.operations;
    for path in ["readyz", "healthz", "metrics"] {
        let url = format!("http://{address}/{path}");
        for host in ["evil.example", "localhost.evil.example", "127.0.0.2", ""] {
            // A page whose name was made to lead here is of the same origin.
            let host = format!("Host: {host}");
            let host = if host == "Host: " { "Host;" } else { &host };
            let args = ["-H", host, "-H", "Sec-Fetch-Site: same-origin"];
            let (code, text) = curl(&args, &url);
            assert_eq!(code, 421, "{path} {host}: {text}");
            let problem: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["stage"], "host");
            let hint = problem["hint"].as_str().unwrap();
            assert!(hint.contains("[proxy.operations]"), "{hint}");
            assert!(!text.contains("CN="), "{text}");
        }
        let elsewhere = ["-H", "Origin: https://evil.example"];
        assert_eq!(curl(&elsewhere, &url).0, 403, "{path}");
        for host in ["localhost", "127.0.0.1:1", "[::1]", "Metrics.internal"] {
            let (code, text) = curl(&["-H", &format!("Host: {host}")], &url);
            assert_eq!(code, 200, "{path} {host}: {text}");
        }
        assert_eq!(curl(&[], &url).0, 200, "{path}");
    }
    assert_eq!(scene.proxy.operations("/healthz").0, 200);
}
