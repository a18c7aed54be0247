//! A hub of several addresses, some of which drop every packet (RFC 8305): the first connection costs a moment more,
//! later ones nothing, and each address that does not answer is named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::common::addresses::{Swallowing, with_hosts};
use crate::common::bank::{BINARY, Bank, config_of_child};
use crate::common::child_test;
use crate::common::hub::{Hub, HubOptions};
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::client::{self, ClientError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::origin::Origin;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::tls::Tls;
use hsm_mtls::internal::token::guard::Attendance;

/// One after the other, each of two silent addresses would have a third of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Less than one such share, and far more than the machine may be late.
const SOON: Duration = Duration::from_secs(8);
const NAME: &str = "hub.example";

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn bank() -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.hub_lines = format!("connect_timeout = \"{}s\"", CONNECT_TIMEOUT.as_secs());
    });
    bank.certify("p-256");
    bank
}

fn connector(config: &Config) -> (Connector, Origin) {
    let identity = Identity::open(config, Attendance::Unattended).unwrap();
    let tls = Tls::new(config, &identity).unwrap();
    let connector = Connector::new(config, &tls).unwrap();
    (connector, config.hub.services[0].origin.clone())
}

/// The address that a connection was made to.
async fn reached(
    connector: &Connector,
    origin: &Origin,
    addresses: &[SocketAddr],
) -> Result<SocketAddr, ClientError> {
    let tcp = connector.tcp(origin, addresses, connector.deadline()).await;
    tcp.map(|stream| stream.peer_addr().unwrap())
}

/// Nobody is there: the system refuses at once.
fn refusing(count: u8) -> Vec<SocketAddr> {
    let closed = TcpListener::bind((loopback(200), 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    let all = (0..count).map(|last| SocketAddr::new(Ipv4Addr::new(127, 0, 1, last).into(), port));
    all.collect()
}

#[test]
fn the_first_that_answers_is_taken_and_remembered() {
    if let Some(config) = config_of_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(take_and_remember(&config));
    }
    bank().run_test(the_first_that_answers_is_taken_and_remembered, &[]);
}

async fn take_and_remember(config: &Config) {
    let (connector, origin) = connector(config);
    let silent = [2, 3, 4, 5].map(|last| Swallowing::at(loopback(last), 0));
    let mut addresses: Vec<_> = silent.iter().map(Swallowing::address).collect();
    let [well, other] = [6, 7].map(|last| TcpListener::bind((loopback(last), 0)).unwrap());
    let [well_at, other_at] = [&well, &other].map(|listener| listener.local_addr().unwrap());
    addresses.push(well_at);
    let begun = Instant::now();
    assert_eq!(
        reached(&connector, &origin, &addresses).await.unwrap(),
        well_at
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

    // From now on it is the first, though others would answer: also for a clone.
    let first_well = [&[other_at][..], &addresses].concat();
    let clone = connector.clone();
    assert_eq!(
        reached(&clone, &origin, &first_well).await.unwrap(),
        well_at
    );
    // Of another host nothing is known, and an address that the name has no more is not tried.
    let hh = &config.hub.services[1].origin;
    assert_ne!(hh, &origin);
    assert_eq!(reached(&clone, hh, &first_well).await.unwrap(), other_at);
    assert_eq!(
        reached(&connector, &origin, &[other_at]).await.unwrap(),
        other_at
    );
    assert_eq!(
        reached(&connector, &origin, &[well_at, other_at])
            .await
            .unwrap(),
        other_at
    );

    // The one that is remembered fails: it is forgotten, and what answers instead is the next first.
    drop(other);
    let both = [other_at, well_at];
    assert_eq!(reached(&connector, &origin, &both).await.unwrap(), well_at);
    let other = TcpListener::bind(other_at).unwrap();
    assert_eq!(reached(&connector, &origin, &both).await.unwrap(), well_at);
    drop((well, other));
    let error = reached(&connector, &origin, &both).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Connect { .. }),
        "at once: {error}"
    );
    let _well = TcpListener::bind(well_at).unwrap();
    let _other = TcpListener::bind(other_at).unwrap();
    assert_eq!(reached(&connector, &origin, &both).await.unwrap(), other_at);
}

#[test]
fn one_that_refuses_is_followed_by_the_next_at_once() {
    if let Some(config) = config_of_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let (connector, origin) = connector(&config);
            let well = TcpListener::bind((loopback(1), 0)).unwrap();
            let well_at = well.local_addr().unwrap();
            // With a quarter of a second for each, half a minute.
            let mut addresses = refusing(120);
            addresses.push(well_at);
            let begun = Instant::now();
            let found = reached(&connector, &origin, &addresses).await.unwrap();
            assert_eq!(found, well_at);
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

            // A family that leads nowhere (RFC 3849: documentation only), or is answered by nobody.
            let nowhere = SocketAddr::new("2001:db8::1".parse().unwrap(), well_at.port());
            let silent = Swallowing::at(Ipv6Addr::LOCALHOST.into(), 0);
            for first in [nowhere, silent.address()] {
                let (connector, origin) = (connector.clone(), &origin);
                let begun = Instant::now();
                let both = [first, refusing(1)[0], well_at];
                assert_eq!(reached(&connector, origin, &both).await.unwrap(), well_at);
                assert!(begun.elapsed() < SOON, "{first}: {:?}", begun.elapsed());
            }
        });
    }
    bank().run_test(one_that_refuses_is_followed_by_the_next_at_once, &[]);
}

#[test]
fn where_none_answers_each_is_named_when_the_time_is_over() {
    if let Some(config) = config_of_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let (connector, origin) = connector(&config);
            let silent = [2, 3, 4, 5, 6].map(|last| Swallowing::at(loopback(last), 0));
            let mut addresses: Vec<_> = silent.iter().map(Swallowing::address).collect();
            let begun = Instant::now();
            let error = reached(&connector, &origin, &addresses).await.unwrap_err();
            assert!(begun.elapsed() >= Duration::from_secs(1));
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
            let said = error.to_string();
            assert!(said.contains("took longer than 1000 ms"), "{said}");
            for address in &addresses {
                assert!(said.contains(&format!("{address}: no answer")), "{said}");
            }
            // Who is last is tried too, however short the time is.
            let well = TcpListener::bind((loopback(7), 0)).unwrap();
            addresses.push(well.local_addr().unwrap());
            assert!(reached(&connector, &origin, &addresses).await.is_ok());

            let refused = refusing(3);
            let error = reached(&connector, &origin, &refused).await.unwrap_err();
            let said = error.to_string();
            for address in &refused {
                assert!(said.contains(&format!("{address}: Connection refused")));
            }
            assert!(said.contains("cannot be reached"), "{said}");
        });
    }
    let mut bank = bank();
    bank.configure(|settings| settings.hub_lines = "connect_timeout = \"1s\"".to_owned());
    bank.run_test(where_none_answers_each_is_named_when_the_time_is_over, &[]);
}

/// Something answers there, and it is not the hub: behind a load balancer whose servers are down, say.
#[test]
fn one_that_answers_and_does_not_serve_is_not_preferred() {
    if let Some(config) = config_of_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let (connector, origin) = connector(&config);
            let bad_at = SocketAddr::new(loopback(1), origin.port);
            assert_eq!(
                reached(&connector, &origin, &[bad_at]).await.unwrap(),
                bad_at
            );
            assert!(connector.connect(&origin).await.is_err());
            let well = TcpListener::bind((loopback(7), 0)).unwrap();
            let well_at = well.local_addr().unwrap();
            let both = [well_at, bad_at];
            assert_eq!(reached(&connector, &origin, &both).await.unwrap(), well_at);
        });
    }
    let mut bank = bank();
    let bad = TcpListener::bind((loopback(1), 0)).unwrap();
    bank.hub_at(bad.local_addr().unwrap().port());
    std::thread::spawn(move || bad.incoming().for_each(drop));
    bank.run_test(one_that_answers_and_does_not_serve_is_not_preferred, &[]);
}

/// A hub whose name has two silent addresses before the one that is well.
struct Scene {
    bank: Bank,
    hub: Hub,
    hosts: PathBuf,
    silent: [Swallowing; 2],
}

fn scene() -> Scene {
    let mut bank = bank();
    let mut options = HubOptions::of(&bank.framework, &[NAME]);
    // The system's own order has 127.0.0.1 first, and the others as the file has them.
    options.address = loopback(4);
    let hub = Hub::start_in_thread(options);
    let port = hub.port();
    let silent = [2, 3].map(|last| Swallowing::at(loopback(last), port));
    bank.configure(|settings| {
        settings.consent_manager = format!("https://{NAME}:{port}");
        settings.headless_heimdall = format!("https://{NAME}:{port}");
    });
    let lines = [2, 3, 4].map(|last| format!("{} {NAME}\n", loopback(last)));
    let hosts = bank.write("hosts", &lines.concat());
    Scene {
        bank,
        hub,
        hosts,
        silent,
    }
}

impl Scene {
    fn run(&self, arguments: &[&str]) -> Output {
        let program = Path::new(BINARY.expect("cargo tells tests where the command is"));
        let mut command = with_hosts(&self.hosts, program);
        command
            .arg("--config")
            .arg(self.bank.config_path())
            .args(arguments);
        output(command)
    }
}

fn output(mut command: Command) -> Output {
    let done = command.output().expect("unshare, of Debian's util-linux");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{done:?}\n{said}");
    done
}

#[test]
fn verify_names_what_does_not_answer_and_a_request_does_not_wait_for_it() {
    let scene = scene();
    let begun = Instant::now();
    scene.run(&["request", "GET", "cm:/consents/1"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(scene.hub.seen().len(), 1);

    let evidence = scene.bank.path("evidence.json");
    let evidence = evidence.to_str().unwrap();
    let done = scene.run(&["verify", "--json", "--evidence", evidence]);
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["established"], true);
    for service in report["services"].as_array().unwrap() {
        let steps = service["steps"].as_array().unwrap();
        let tcp = steps.iter().find(|step| step["name"] == "tcp").unwrap();
        assert_eq!(tcp["outcome"], "note", "{tcp:#}");
        let detail = tcp["detail"].as_str().unwrap();
        for silent in &scene.silent {
            let expected = format!("{} did not answer", silent.address());
            assert!(detail.contains(&expected), "{detail}");
        }
        let well = SocketAddr::new(loopback(4), scene.hub.port());
        assert!(detail.starts_with(&well.to_string()), "{detail}");
        assert!(tcp["hint"].is_string() && tcp["millis"].is_number());
    }
    let kept = std::fs::read_to_string(evidence).unwrap();
    assert!(kept.contains("did not answer"), "{kept}");
}

#[test]
fn reqwest_does_not_wait_for_it_either() {
    if let Some(config) = config_of_child() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let identity = Identity::open(&config, Attendance::Unattended).unwrap();
            let client = client::reqwest::of(&config, &identity, |builder| {
                // Each request with a connection of its own.
                builder.pool_max_idle_per_host(0)
            });
            let client = client.unwrap();
            let url = format!("{}/consents/1", config.hub.services[0].origin);
            for _ in 0..3 {
                let begun = Instant::now();
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
            }
        });
    }
    let scene = scene();
    let mut command = with_hosts(&scene.hosts, &std::env::current_exe().unwrap());
    command
        .args(child_test::arguments(reqwest_does_not_wait_for_it_either))
        .env("HSM_MTLS_TEST_CONFIG", scene.bank.config_path())
        .env("SOFTHSM2_CONF", scene.bank.token.conf());
    output(command);
    assert_eq!(scene.hub.seen().len(), 3);
}
