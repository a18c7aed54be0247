//! The library behind a forward proxy: its own client, and reqwest, which makes the tunnel itself and is given none that it would
//! offer the certificate.

use bytes::Bytes;
use hsm_mtls::internal::config::Config;
use hsm_mtls::{Attendance, Client};
use http::{HeaderMap, Method};

use crate::common::bank::config_of_child;
use crate::common::forward_proxy::{ForwardProxy, Serves};
use crate::setting::{account, bank_and_hub, set, with_credentials};

/// What the test in the other process is to find.
const EXPECT: &str = "HSM_MTLS_TEST_EXPECT";

#[test]
fn client_and_reqwest_go_through_it() {
    let (mut bank, nginx) = bank_and_hub();
    let squid = ForwardProxy::squid(Serves::Account);
    let url = squid.url();
    let lines = with_credentials(&bank, &url, &account());
    for (lines, expected) in [
        (lines.as_str(), "200 200"),
        (&format!("proxy = \"{url}\""), "407 proxy"),
        (
            "proxy = \"http://127.0.0.1:1\"\nno_proxy = [\"localhost\"]",
            "200 200",
        ),
        (&format!("{lines}\nresolve = \"local\""), "200 refused"),
    ] {
        set(&mut bank, lines);
        bank.run_test(calls, &[(EXPECT, expected.to_owned())]);
    }
    let accesses = nginx.wait_for_accesses(5);
    assert!(
        accesses.iter().all(|access| access.verify == "SUCCESS"),
        "{accesses:?}"
    );
}

#[test]
fn calls() {
    let Some(config) = config_of_child() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(async {
        format!(
            "{} {}",
            with_client(&config).await,
            with_reqwest(&config).await
        )
    });
    assert_eq!(found, std::env::var(EXPECT).unwrap());
}

async fn with_client(config: &Config) -> String {
    let client = Client::open(config, Attendance::Unattended).unwrap();
    let url = format!("{}/hello-mtls", config.hub.services[0].origin);
    let url = url.parse().unwrap();
    let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
    match answer.await {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(error) if error.to_string().contains("407") => "407".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn with_reqwest(config: &Config) -> String {
    let client = match hsm_mtls::reqwest::client(config, Attendance::Unattended) {
        Ok(client) => client,
        Err(error) if error.to_string().contains("not for reqwest") => return "refused".to_owned(),
        Err(error) => return error.to_string(),
    };
    let url = format!("{}/hello-mtls", config.hub.services[0].origin);
    match client.get(url).send().await {
        Ok(answer) => answer.status().as_u16().to_string(),
        // Its own words.
        Err(error) if format!("{error:?}").contains("ProxyAuth") => "proxy".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
