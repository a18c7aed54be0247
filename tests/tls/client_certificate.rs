//! With a key configured, a handshake sends the certificate or fails; and only the configured hosts get it. Observed
//! at the hub.

use std::error::Error as _;
use std::sync::Arc;

use crate::common::bank::{Bank, config_of_child};
use crate::common::hub::{AskForCertificate, Hub, HubOptions};
use hsm_mtls::internal::client;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::tls::{Tls, TlsError, diagnose};
use hsm_mtls::internal::token::guard::Attendance;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const URL: &str = "HSM_MTLS_TEST_URL";
const EXPECT: &str = "HSM_MTLS_TEST_EXPECT";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn hub(bank: &Bank, version: &'static SupportedProtocolVersion, ask: AskForCertificate) -> Hub {
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.versions = vec![version];
    options.ask = ask;
    options.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Hub::start_in_thread(options)
}

#[test]
fn our_connector_sends_nothing_to_a_hub_that_does_not_ask() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    for version in VERSIONS {
        let asking = hub(&bank, version, AskForCertificate::Required);
        bank.hub_at(asking.port());
        bank.run(&["request", "GET", "cm:/consents/1"]).expect(0);
        assert_eq!(asking.seen().len(), 1);

        let silent = hub(&bank, version, AskForCertificate::Never);
        bank.hub_at(silent.port());
        let run = bank.run(&["request", "GET", "cm:/consents/1"]).expect(5);
        assert!(
            run.stderr
                .contains("the server did not ask for our certificate"),
            "{run:?}"
        );
        assert_eq!(silent.wait_for_connections_blocking(1).len(), 1);
        assert!(silent.seen().is_empty());
    }
}

#[test]
fn reqwest_sends_nothing_to_a_hub_that_does_not_ask() {
    if let Some(config) = config_of_child() {
        return call_with_reqwest(&config);
    }
    let mut bank = Bank::new();
    bank.certify("p-256");
    for version in VERSIONS {
        for (ask, expect) in [
            (AskForCertificate::Required, "200"),
            (AskForCertificate::Never, "NotAsked"),
        ] {
            let hub = hub(&bank, version, ask);
            bank.hub_at(hub.port());
            let url = format!("https://localhost:{}/consents/1", hub.port());
            bank.run_test(
                reqwest_sends_nothing_to_a_hub_that_does_not_ask,
                &[(URL, url), (EXPECT, expect.to_owned())],
            );
            let requests = usize::from(ask == AskForCertificate::Required);
            assert_eq!(hub.seen().len(), requests, "{version:?} {ask:?}");
            assert!(!hub.wait_for_connections_blocking(1).is_empty());
        }
    }
}

#[test]
fn reqwest_offers_the_certificate_to_no_other_host() {
    if let Some(config) = config_of_child() {
        return call_with_reqwest(&config);
    }
    let mut bank = Bank::new();
    bank.certify("p-256");
    for version in VERSIONS {
        // The same Trust Framework, so its certificate is good; it asks; it is not configured.
        let other = hub(&bank, version, AskForCertificate::Required);
        bank.configure(|settings| {
            settings.consent_manager = format!("https://localhost:{}", other.port());
            settings.headless_heimdall = settings.consent_manager.clone();
        });
        let url = format!("https://127.0.0.1:{}/consents/1", other.port());
        bank.run_test(
            reqwest_offers_the_certificate_to_no_other_host,
            &[(URL, url), (EXPECT, "HostNotConfigured".to_owned())],
        );
        let connections = other.wait_for_connections_blocking(1);
        assert!(
            connections
                .iter()
                .all(|seen| seen.client_certificate.is_none()),
            "{connections:?}"
        );
        assert!(other.seen().is_empty());
    }
}

fn call_with_reqwest(config: &Config) {
    let (url, expect) = (std::env::var(URL).unwrap(), std::env::var(EXPECT).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let client = client::reqwest::client(config, Attendance::Unattended).unwrap();
        match client.get(url).send().await {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) => match diagnose(&error) {
                Some(TlsError::NotAsked) => "NotAsked".to_owned(),
                Some(TlsError::HostNotConfigured { .. }) => "HostNotConfigured".to_owned(),
                other => format!("{other:?} in {error:?} from {:?}", error.source()),
            },
        }
    });
    assert_eq!(outcome, expect);
}

#[test]
fn our_connector_does_not_even_connect_to_another_host() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let other = hub(&bank, &TLS13, AskForCertificate::Required);
    bank.hub_at(1);
    for url in [
        format!("https://localhost:{}/x", other.port()),
        format!("http://localhost:{}/x", other.port()),
    ] {
        bank.run(&["request", "GET", &url]).expect(2);
    }
    assert!(other.connections().is_empty());
}

#[test]
fn the_bare_rustls_configuration_offers_the_certificate_to_configured_hosts_only() {
    if let Some(config) = config_of_child() {
        return connect_with_rustls(&config);
    }
    let mut bank = Bank::new();
    bank.certify("p-384");
    let hub = hub(&bank, &TLS13, AskForCertificate::Required);
    bank.configure(|settings| {
        settings.consent_manager = format!("https://localhost:{}", hub.port());
        settings.headless_heimdall = settings.consent_manager.clone();
    });
    bank.run_test(
        the_bare_rustls_configuration_offers_the_certificate_to_configured_hosts_only,
        &[(URL, hub.port().to_string())],
    );
    let certificates: Vec<_> = hub
        .wait_for_connections_blocking(2)
        .iter()
        .map(|seen| seen.client_certificate.is_some())
        .collect();
    assert_eq!(certificates, [true, false]);
}

fn connect_with_rustls(config: &Config) {
    let port: u16 = std::env::var(URL).unwrap().parse().unwrap();
    let identity = Identity::open(config, Attendance::Unattended).unwrap();
    let tls = Tls::new(config, &identity).unwrap();
    let rustls = tls.unwatched_client_config(config, &[b"http/1.1"]).unwrap();
    let connector = TlsConnector::from(Arc::new(rustls));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for (name, good) in [("localhost", true), ("127.0.0.1", false)] {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            let result = connector.connect(name, tcp).await;
            assert_eq!(result.is_ok(), good, "{result:?}");
        }
    });
}
