//! CRLs and key sets through a forward proxy: that of the hub, another, or none; by CONNECT for https, and as a whole URL for http.

use time::Duration;

use crate::common::bank::Bank;
use crate::common::forward_proxy::{ForwardProxy, Serves};
use crate::common::odd_forward_proxy::{Does, OddForwardProxy};
use crate::common::ports;
use crate::common::published_files::PublishedFiles;
use crate::common::published_keys::bank_with_sig4;
use crate::common::raw_hub::{RawHub, Then};
use crate::setting::{account, set, with_credentials};

fn update(bank: &Bank, code: i32) -> String {
    let run = bank
        .run(&["trust", "update", "--crls", "--json"])
        .expect(code);
    run.json()["steps"][0].to_string()
}

#[test]
fn a_crl_of_http_is_asked_for_as_a_whole_url() {
    let server = PublishedFiles::start();
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.trust_lines = format!(
            "crls = [{{ file = \"issuer.crl\", url = \"{}\" }}]",
            server.url()
        );
    });
    let list = |number| {
        let (since, until) = (Duration::days(1), Duration::days(7));
        bank.framework.crl_numbered(number, since, &[], until)
    };
    let lists = [5, 6, 7].map(list);
    server.publish(&lists[0]);
    for (number, proxy) in [
        ForwardProxy::squid(Serves::Account),
        ForwardProxy::tinyproxy(Serves::Account),
    ]
    .into_iter()
    .enumerate()
    {
        server.publish(&lists[number]);
        set(&mut bank, &format!("proxy = \"{}\"", proxy.url()));
        let step = update(&bank, 5);
        assert!(
            step.contains("wants credentials") && step.contains("407"),
            "{step}"
        );
        let lines = with_credentials(&bank, &proxy.url(), &account());
        set(&mut bank, &lines);
        update(&bank, 0);
        assert_eq!(
            std::fs::read(bank.path("issuer.crl")).unwrap(),
            lists[number]
        );
        proxy.logged("GET http://127.0.0.1");
        // The server sees no credentials.
        let heads = server.heads();
        assert!(
            !heads
                .concat()
                .to_lowercase()
                .contains("proxy-authorization"),
            "{heads:?}"
        );
    }
    // Their own setting.
    server.publish(&lists[2]);
    let nowhere = format!("http://127.0.0.1:{}", ports::unused());
    set(&mut bank, &format!("proxy = \"{nowhere}\""));
    let step = update(&bank, 5);
    assert!(
        step.contains(&format!("the forward proxy {nowhere} cannot be reached")),
        "{step}"
    );
    set(
        &mut bank,
        &format!("proxy = \"{nowhere}\"\nfetch_proxy = \"direct\""),
    );
    update(&bank, 0);
    set(
        &mut bank,
        &format!("proxy = \"{nowhere}\"\nno_proxy = [\"127.0.0.0/8\"]"),
    );
    update(&bank, 0);
}

#[test]
fn a_key_set_is_fetched_in_a_tunnel() {
    let mut bank = bank_with_sig4("");
    let server = RawHub::start_public(&bank.framework);
    let url = format!("https://localhost:{}/application.jwks", server.port());
    let body = "{\"keys\":[]}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    server.answers(answer, Then::Next);
    let roots = bank.write("roots.pem", &bank.framework.bundle_pem());
    let check = |bank: &Bank, code| {
        let arguments = ["jwks", "check", "--json", "--url", &url];
        let run = bank.run_with(&arguments, &[("SSL_CERT_FILE", &roots)]);
        run.expect(code).json()["steps"][0].to_string()
    };
    let network = |bank: &mut Bank, lines: &str| {
        bank.configure(|settings| {
            let kept = settings
                .sections
                .split("[network]")
                .next()
                .unwrap()
                .to_owned();
            settings.sections = format!("{kept}\n[network]\n{lines}\n");
        });
    };
    let squid = ForwardProxy::squid(Serves::All);
    network(
        &mut bank,
        &format!(
            "proxy = \"http://127.0.0.1:1\"\nfetch_proxy = \"{}\"",
            squid.url()
        ),
    );
    let step = check(&bank, 1);
    assert!(step.contains("good"), "{step}");
    squid.logged(&format!("CONNECT localhost:{}", server.port()));
    let refuses = OddForwardProxy::start(Does::Answers(
        b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ));
    network(&mut bank, &format!("fetch_proxy = \"{}\"", refuses.url()));
    let step = check(&bank, 5);
    assert!(
        step.contains("refuses CONNECT (403)") && step.contains("keystore") | step.contains("JWKS"),
        "{step}"
    );
}
