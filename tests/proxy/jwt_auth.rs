//! JWT Auth in the proxy: each request to a covered service carries a token of its own, which hubs in Python and Node accept; nobody
//! but the hub sees it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::jwt_verdicts::{Arrived, jwks_of, verdicts};
use crate::common::poll::until;
use crate::common::procfs::memory;
use crate::common::proxy::{Ports, Proxy, body};
use crate::common::sig4;
use hsm_mtls::internal::rfc3339::unix_now;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// The tokens that a hub was sent, and when.
type Tokens = Arc<Mutex<Vec<Arrived>>>;

/// A bank with both keys and a proxy's configuration, and a hub that keeps the tokens it is sent.
struct Scene {
    bank: Bank,
    hub: Hub,
    tokens: Tokens,
    ledger: TempDir,
    ports: Ports,
}

impl Scene {
    fn ledger(&self) -> String {
        fs::read_to_string(self.ledger.path().join("ledger.jsonl")).unwrap()
    }
}

fn scene(jwt: &str, sig4_lines: &str) -> Scene {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let tokens = Tokens::default();
    let kept = Arc::clone(&tokens);
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    // HTTP/2 logs its frames.
    options.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    options.observer = Some(Box::new(move |request, _| {
        let value = request.headers.get("authorization");
        let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if let Some(token) = token {
            kept.lock().unwrap().push((token.to_owned(), unix_now()));
        }
    }));
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    // The ledger is in a folder that the front end does not read.
    let ledger = tempfile::tempdir().unwrap();
    let sections = format!(
        "{}\n[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
        sig4::section(sig4_lines),
        ledger.path().display()
    );
    let ports = Proxy::configure(&mut bank, &format!("jwt = \"{jwt}\""), &sections);
    Scene {
        bank,
        hub,
        tokens,
        ledger,
        ports,
    }
}

fn part(token: &str, at: usize) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn hubs_in_python_and_node_accept_the_tokens_of_the_proxy() {
    let scene = scene("both", "lifetime = \"20s\"\nnot_before = true");
    let Scene { bank, tokens, .. } = &scene;
    let proxy = Proxy::start(bank, scene.ports);
    for path in ["/cm/consents/1", "/hh/auth", "/cm/consents/2", "/hh/auth"] {
        let (code, answer) = proxy.get(path);
        assert!(code == 200 || code == 303, "{answer}");
    }
    bank.run(&["request", "--jwt", "GET", "cm:/consents/3"])
        .expect(0);
    let tokens = tokens.lock().unwrap().clone();
    assert_eq!(tokens.len(), 5);
    let jwks = jwks_of(&[&bank.path("sig4.pem")]);
    for (hub, verdicts) in verdicts(&jwks, &tokens) {
        assert_eq!(verdicts, ["ok"; 5], "{hub}");
    }
    for (token, _) in &tokens {
        let (header, claims) = (part(token, 0), part(token, 1));
        assert_eq!(header["kid"], jwks["keys"][0]["kid"]);
        assert_eq!(
            claims["exp"].as_u64(),
            claims["iat"].as_u64().map(|iat| iat + 20)
        );
        assert_eq!(claims["nbf"], claims["iat"]);
    }
    let ids: BTreeSet<_> = tokens
        .iter()
        .map(|(token, _)| part(token, 1)["jti"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 5);
    // Of each token both records have the id.
    let logged = proxy.accesses(4);
    assert!(
        logged
            .iter()
            .all(|line| ids.contains(line["jti"].as_str().unwrap()))
    );
    let ledger = scene.ledger();
    assert!(
        ids.iter()
            .all(|id| ledger.contains(&format!("\"jti\":\"{id}\"")))
    );
    let days_left = proxy.operations("/metrics").1;
    let of_sig4 =
        |line: &&str| line.contains("object=sig4") && line.contains("certificate_days_left");
    assert!(days_left.lines().any(|line| of_sig4(&line)), "{days_left}");
    let ready = proxy.ready();
    assert_eq!(ready["ready"], true, "{ready:#}");
    assert_eq!(ready["jwt"]["kid"], jwks["keys"][0]["kid"]);
    assert_eq!(
        ready["jwt"]["hub_clock_is_beyond_bound"], false,
        "{ready:#}"
    );
}

#[test]
fn a_token_goes_to_the_covered_service_only_and_an_authorization_is_never_replaced() {
    let scene = scene("cm", "");
    let proxy = Proxy::start(&scene.bank, scene.ports);
    let with_own = |path: &str, connection: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer caller\r\nConnection: {connection}\r\n\r\n"
        );
        String::from_utf8(proxy.raw(request.as_bytes())).unwrap()
    };
    // Also where it is named as one that no proxy forwards: it would be gone, and ours in its place.
    for connection in ["close", "close, Authorization"] {
        let refused = with_own("/cm/consents/1", connection);
        let problem = body(&refused);
        assert_eq!(problem["status"], 400, "{refused}");
        assert_eq!(problem["stage"], "authorization");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("Authorization"), "{refused}");
    }
    assert!(with_own("/hh/auth", "close").starts_with("HTTP/1.1 303"));
    assert_eq!(proxy.get("/hh/auth").0, 303);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let seen: Vec<_> = scene
        .hub
        .seen()
        .iter()
        .map(|request| {
            let value = request.headers.get_all("authorization").iter();
            let values: Vec<_> = value
                .map(|value| value.to_str().unwrap().to_owned())
                .collect();
            (request.path_and_query.clone(), values)
        })
        .collect();
    assert_eq!(
        seen[0],
        ("/auth".to_owned(), vec!["Bearer caller".to_owned()])
    );
    assert_eq!(seen[1], ("/auth".to_owned(), Vec::new()));
    assert_eq!(seen[2].1.len(), 1, "{seen:?}");
    assert_eq!(scene.tokens.lock().unwrap().len(), 2);
}

/// Requests over one connection, one after the other.
fn requests(socket: &std::path::Path, count: usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut answer = [0; 8192];
    for _ in 0..count {
        stream
            .write_all(b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let length = stream.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

#[test]
fn under_load_no_token_is_used_twice_or_late_and_few_requests_wait_for_one() {
    let mut scene = scene("both", "");
    let chaos = Chaos::between(&mut scene.bank, "");
    chaos.plan("delay C_Sign 10ms");
    let proxy = Proxy::start_with(&scene.bank, scene.ports, &chaos.environment());
    let socket = proxy.socket();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| requests(&socket, 20));
        }
    });
    let arrived = scene.tokens.lock().unwrap().clone();
    assert_eq!(arrived.len(), 640);
    let mut ids = BTreeSet::new();
    for (token, at) in &arrived {
        let claims = part(token, 1);
        assert!(ids.insert(claims["jti"].as_str().unwrap().to_owned()));
        assert!(claims["exp"].as_u64().unwrap() > *at);
    }
    // The demand is known by now: one caller at a time finds a token in stock.
    let waited = || {
        let labels = [("result", "waited")];
        proxy.metric("hsm_mtls_proxy_jwt_tokens_total", &labels)
    };
    let handed_out = || {
        let labels = [("result", "at-once")];
        proxy.metric("hsm_mtls_proxy_jwt_tokens_total", &labels) + waited()
    };
    until("all are counted", || handed_out() >= 640.0);
    let before = waited();
    requests(&socket, 40);
    until("these too", || handed_out() >= 680.0);
    assert!(waited() - before <= 4.0, "{} waited", waited() - before);
}

#[test]
fn no_log_record_or_problem_holds_a_token() {
    let scene = scene("both", "");
    let Scene { bank, tokens, .. } = &scene;
    let mut command = Proxy::command(bank, &[]);
    let log = fs::File::create(bank.path("proxy.log")).unwrap();
    command
        .arg("-vvv")
        .stderr(log)
        .stdout(std::process::Stdio::null());
    let proxy = Proxy::start_command(bank, scene.ports, command);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(proxy.get("/hh/auth").0, 303);
    let (_, missing) = proxy.get("/cm/nothing");
    proxy.accesses(3);
    let evidence = bank.path("evidence.json");
    bank.run(&["verify", "--evidence", evidence.to_str().unwrap()])
        .expect(0);
    let shown = bank.run(&["ledger", "show", "--json"]).expect(0);
    proxy.signal("TERM");
    let folder = bank.folder().to_owned();
    assert!(proxy.ended().success());
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let texts = [
        ("log", read("proxy.log")),
        ("access log", read("log/access.jsonl")),
        ("ledger", scene.ledger()),
        ("evidence", read("evidence.json")),
        ("answer", missing),
        ("ledger show", shown.stdout),
    ];
    let tokens = tokens.lock().unwrap();
    assert!(tokens.len() >= 3);
    for (name, text) in &texts {
        for (token, _) in tokens.iter() {
            // The header is the same in all.
            for secret in token.split('.').skip(1) {
                assert!(!text.contains(secret), "the {name} holds a token");
            }
        }
    }
    assert!(texts[0].1.contains("TRACE"), "it was not told to log all");
}

/// Libraries copy what they send, and memory is cleared when it is freed. What is left is in the buffers of open connections: with
/// HTTP/1.1 the last request of each.
#[test]
fn the_memory_of_the_front_end_holds_no_token_that_is_past() {
    for h2 in [true, false] {
        let scene = scene(&format!("both\"\nh2 = {h2}\nvia = \"off"), "");
        let proxy = Proxy::start(&scene.bank, scene.ports);
        let socket = proxy.socket();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| requests(&socket, 40));
            }
        });
        assert_eq!(proxy.get("/hh/auth").0, 303);
        let sent = scene.tokens.lock().unwrap().clone();
        assert_eq!(sent.len(), 321);
        let memory = memory(proxy.front_end().unwrap());
        let is_held = |text: &str| {
            let mut ranges = memory.iter();
            ranges.any(|bytes| memchr::memmem::find(bytes, text.as_bytes()).is_some())
        };
        // Those in stock are there: it is looked at rightly.
        assert!(is_held(sent[0].0.split('.').next().unwrap()));
        let signatures = sent
            .iter()
            .map(|(token, _)| token.rsplit('.').next().unwrap());
        let held = signatures.filter(|signature| is_held(signature)).count();
        let open =
            |upstream| proxy.metric("hsm_mtls_proxy_connections_open", &[("upstream", upstream)]);
        let most = match h2 {
            true => 0.0,
            false => open("cm") + open("hh"),
        };
        assert!(
            held as f64 <= most && most < 64.0,
            "HTTP/2 {h2}: {held}, {most}"
        );
    }
}
