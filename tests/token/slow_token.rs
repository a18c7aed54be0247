//! A token that is slow, or never answers, delays its own callers only: no other task of the application, even with a
//! runtime of one thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{AskForCertificate, Hub, HubOptions};
use crate::common::remote_token::{CLIENT, RemoteToken};
use bytes::Bytes;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::client::{self, Client, ClientError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::tls::Tls;
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

const HANDSHAKES: usize = 64;
const TICK: Duration = Duration::from_millis(5);

/// Sets the scene: a bank, its hub, and the module in between.
fn scene<Test: Fn()>(test: Test, plan: &str, lines: &str) -> Option<Config> {
    let config = config_of_child();
    if config.is_none() {
        let mut bank = Bank::new();
        let hub =
            Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
        bank.hub_at(hub.port());
        bank.certify("p-256");
        bank.configure(|settings| settings.token_lines = lines.to_owned());
        let chaos = Chaos::between(&mut bank, plan);
        chaos.run_test(&bank, test, &[]);
    }
    config
}

fn hello(config: &Config) -> Url {
    let origin = &config.hub.services[0].origin;
    format!("{origin}/hello-mtls").parse().unwrap()
}

/// How late a ticker was, at its 99th percentile, while the tasks ran beside it on one thread.
fn lateness(tasks: impl FnOnce(&mut JoinSet<()>)) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut running = JoinSet::new();
        tasks(&mut running);
        let mut late = Vec::new();
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticker.tick().await;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = ticker.tick() => {
                    late.push(last.elapsed().saturating_sub(TICK));
                    last = Instant::now();
                }
                done = running.join_next() => match done {
                    Some(done) => done.unwrap(),
                    None => break,
                },
            }
        }
        late.push(last.elapsed().saturating_sub(TICK));
        late.sort_unstable();
        late[(late.len() - 1) * 99 / 100]
    })
}

/// The same signatures, asked for on the application's own thread: what every client does that has
/// no place of its own for them.
fn inline(config: &Config, identity: &Identity) -> Duration {
    let tls = Tls::new(config, identity).unwrap();
    let rustls = Arc::new(
        tls.unobserved_client_config(config, &[b"http/1.1"])
            .unwrap(),
    );
    let port = config.hub.services[0].origin.port;
    lateness(|tasks| {
        for _ in 0..HANDSHAKES {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&rustls));
            tasks.spawn(async move {
                let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                connector.connect(name, tcp).await.unwrap();
            });
        }
    })
}

#[test]
fn sixty_four_handshakes_on_a_slow_token_do_not_hold_up_the_thread_beside_them() {
    let Some(config) = scene(
        sixty_four_handshakes_on_a_slow_token_do_not_hold_up_the_thread_beside_them,
        "delay C_Sign 200ms",
        "sessions = 16",
    ) else {
        return;
    };
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let inline = inline(&config, &identity);
    let url = hello(&config);
    let tls = Tls::new(&config, &identity).unwrap();
    let ours = Client::new(&config, Connector::new(&config, &tls).unwrap());
    let apart = lateness(|tasks| {
        for _ in 0..HANDSHAKES {
            let (client, url) = (ours.clone(), url.clone());
            tasks.spawn(async move {
                let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                assert_eq!(answer.await.unwrap().status, 200);
            });
        }
    });
    // A connection for each request, as the others have.
    let reqwest = client::reqwest::customized(&config, Attendance::Unattended, |builder| {
        builder.http1_only().pool_max_idle_per_host(0)
    });
    let reqwest = reqwest.unwrap();
    let with_reqwest = lateness(|tasks| {
        for _ in 0..HANDSHAKES {
            let (client, url) = (reqwest.clone(), url.clone());
            tasks.spawn(async move {
                assert_eq!(client.get(url).send().await.unwrap().status(), 200);
            });
        }
    });
    println!("p99 late: inline {inline:?}, our client {apart:?}, reqwest {with_reqwest:?}");
    assert!(
        apart <= inline / 20,
        "our client {apart:?}, inline {inline:?}"
    );
    assert!(
        with_reqwest <= inline / 20,
        "reqwest {with_reqwest:?}, inline {inline:?}"
    );
}

#[test]
fn a_token_that_never_comes_back_costs_its_callers_an_error_in_time() {
    let Some(config) = scene(
        a_token_that_never_comes_back_costs_its_callers_an_error_in_time,
        // The proof is the first.
        "hang C_Sign 2..",
        "sessions = 2\ntimeout = \"1s\"",
    ) else {
        return;
    };
    let client = Client::open(&config, Attendance::Unattended).unwrap();
    let url = hello(&config);
    let late = lateness(|tasks| {
        for _ in 0..40 {
            let (client, url) = (client.clone(), url.clone());
            tasks.spawn(async move {
                let started = Instant::now();
                let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                let error = answer.await.unwrap_err();
                let waited = started.elapsed();
                assert!(waited < Duration::from_millis(1600), "{waited:?}");
                assert_eq!(error.exit_code() as u8, 3, "{error}");
                assert!(matches!(error, ClientError::Tls(_)), "{error}");
            });
        }
    });
    assert!(
        late < Duration::from_millis(200),
        "the thread was held up for {late:?}"
    );
}

const SOCKET: &str = "REMOTE_TOKEN_SOCKET";
const ANCHORS: &str = "OTHER_SERVER_ANCHORS";
const PORT: &str = "OTHER_SERVER_PORT";

/// A server of no concern to the token, as the application's other code meets it.
#[derive(Clone)]
struct Elsewhere {
    connector: tokio_rustls::TlsConnector,
    port: u16,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl Elsewhere {
    fn of_child() -> Self {
        let anchors = std::env::var_os(ANCHORS).unwrap();
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_file_iter(anchors).unwrap() {
            roots.add(anchor.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            connector: Arc::new(config).into(),
            port: std::env::var(PORT).unwrap().parse().unwrap(),
            took: Arc::default(),
        }
    }

    async fn shake_hands(self) {
        for _ in 0..HANDSHAKES {
            let started = Instant::now();
            let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            self.connector.connect(name, tcp).await.unwrap();
            self.took.lock().unwrap().push(started.elapsed());
        }
    }

    /// How long a handshake took, in the middle.
    fn median(&self) -> Duration {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap());
        assert_eq!(took.len(), HANDSHAKES);
        took.sort_unstable();
        took[took.len() / 2]
    }
}

/// While a remote token hangs, the application's other connections and tasks go on as before, all on
/// one thread.
#[test]
fn while_the_token_hangs_other_handshakes_go_on_as_before() {
    let Some(config) = config_of_child() else {
        let mut bank = Bank::new();
        let names = ["localhost", "127.0.0.1"];
        let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &names));
        let mut open = HubOptions::of(&bank.framework, &names);
        open.ask = AskForCertificate::Never;
        let elsewhere = Hub::start_in_thread(open);
        bank.hub_at(hub.port());
        bank.certify("p-256");
        bank.configure(|settings| {
            settings.module = PathBuf::from(CLIENT);
            settings.token_lines = "timeout = \"2s\"\nsessions = 4".to_owned();
        });
        let socket = bank.path("p11-kit.sock");
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let variables = [
            ("P11_KIT_SERVER_ADDRESS", RemoteToken::address(&socket)),
            (SOCKET, text(socket)),
            (ANCHORS, text(bank.path("anchors.pem"))),
            (PORT, elsewhere.port().to_string()),
        ];
        return bank.run_test(
            while_the_token_hangs_other_handshakes_go_on_as_before,
            &variables,
        );
    };
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let mut token = RemoteToken::at(&socket, "lfi");
    token.start();
    let client = Client::open(&config, Attendance::Unattended).unwrap();
    let (url, elsewhere) = (hello(&config), Elsewhere::of_child());
    let late_before = lateness(|tasks| {
        tasks.spawn(elsewhere.clone().shake_hands());
    });
    let before = elsewhere.median();
    token.stop_children();
    let late = lateness(|tasks| {
        for _ in 0..HANDSHAKES {
            let (client, url) = (client.clone(), url.clone());
            tasks.spawn(async move {
                let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                let error = answer.await.unwrap_err();
                assert!(error.to_string().contains("no signature within"), "{error}");
            });
        }
        tasks.spawn(elsewhere.clone().shake_hands());
    });
    let meanwhile = elsewhere.median();
    token.continue_children();
    println!("handshake {before:?}, then {meanwhile:?}; p99 late {late_before:?}, then {late:?}");
    // Room for a busy machine; a single signature that hangs here would cost two seconds.
    assert!(
        meanwhile <= before * 2 + 4 * TICK,
        "{before:?}, then {meanwhile:?}"
    );
    assert!(
        late <= late_before * 2 + 20 * TICK,
        "{late_before:?}, then {late:?}"
    );
}
