//! Which servers are trusted as the hub, and what an operator reads of one that is not.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::bank::{Bank, Run};
use crate::common::hub::{Hub, HubOptions};
use crate::common::openssl::{LEAF_EXTENSIONS, OpenSsl};
use crate::common::trust_framework::{Kind, ServerIdentity, TrustFramework};
use serde_json::Value;
use time::Duration;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn hub(bank: &mut Bank, server: ServerIdentity) -> Hub {
    let hub = Hub::start_in_thread(HubOptions::new(server, bank.framework.bundle_pem()));
    bank.hub_at(hub.port());
    hub
}

fn step(run: &Run, name: &str) -> Value {
    let steps = run.json()["services"][0]["steps"].clone();
    let found = steps
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["name"] == name)
        .cloned();
    found.unwrap_or_else(|| panic!("no step {name}: {steps:#}"))
}

/// The answer to the open question of which CA the hub's own certificate is from.
#[test]
fn the_operator_is_told_which_trust_the_hub_satisfies() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    // Another CA plays the public one: the machine's store is replaced for the command.
    let public = TrustFramework::new(Kind::Production);
    let store = bank.write("store.pem", &public.bundle_pem());
    let store: [(&str, &Path); 1] = [("SSL_CERT_FILE", &store)];
    let _hub = hub(&mut bank, public.issue_server(&NAMES));

    let refused = bank.run_with(&["verify", "--json"], &store).expect(5);
    let said = step(&refused, "server certificate");
    let detail = said["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("satisfies public trust, not the Trust Framework"),
        "{said}"
    );
    assert!(
        said["hint"].as_str().unwrap().contains("mode = \"public\""),
        "{said}"
    );
    assert_eq!(step(&refused, "GET /hello-mtls")["outcome"], "not-reached");

    for mode in ["public", "both"] {
        bank.configure(|settings| settings.trust = mode);
        bank.run_with(&["verify"], &store).expect(0);
    }
    // Without that store nothing vouches for it.
    let neither = bank.run(&["verify", "--json"]).expect(5);
    let detail = step(&neither, "server certificate")["detail"].clone();
    assert!(
        detail.as_str().unwrap().starts_with("satisfies neither"),
        "{detail}"
    );
}

#[test]
fn a_hub_under_another_name_is_refused_and_sees_no_certificate() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let server = bank.framework.issue_server(&["cm.other.example"]);
    let hub = hub(&mut bank, server);
    let run = bank.run(&["verify", "--json"]).expect(5);
    assert_eq!(step(&run, "host name")["outcome"], "bad");
    assert_eq!(step(&run, "server certificate")["outcome"], "good");
    let connections = hub.wait_for_connections_blocking(2);
    assert!(
        connections
            .iter()
            .all(|seen| seen.client_certificate.is_none())
    );
}

#[test]
fn a_configured_crl_is_enforced() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let server = bank.framework.issue_server(&NAMES);
    let revoked = bank
        .framework
        .crl(&[&server.chain_der[0]], Duration::days(7));
    let clean = bank.framework.crl(&[], Duration::days(7));
    let old = bank.framework.crl(&[], -Duration::days(1));
    let _hub = hub(&mut bank, server);
    let with = |bank: &mut Bank, crl: &str| {
        bank.write("list.crl", crl);
        bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
        bank.run(&["verify"])
    };
    with(&mut bank, &clean).expect(0);
    let refused = with(&mut bank, &revoked).expect(5);
    assert!(
        refused.stdout.contains("refused by the CRLs of [trust]"),
        "{refused:?}"
    );
    assert!(refused.stdout.contains("it is revoked"), "{refused:?}");
    let stale = with(&mut bank, &old).expect(5);
    assert!(
        stale
            .stdout
            .contains("fetch the Trust Framework's CRL anew"),
        "{stale:?}"
    );
    let rubbish = with(&mut bank, "not a CRL").expect(2);
    assert!(
        rubbish.stderr.contains("list.crl cannot be used"),
        "{rubbish:?}"
    );
}

/// Whoever has the list of the root too learns of an Issuing CA that was revoked.
#[test]
fn a_revoked_issuing_ca_is_refused() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let server = bank.framework.issue_server(&NAMES);
    let (week, framework) = (Duration::days(7), &bank.framework);
    let of_leaf = framework.crl(&[], week);
    let clean = framework.crl_of_root(&[], week);
    let revoked = framework.crl_of_root(&[framework.issuing_der()], week);
    let old = framework.crl_of_root(&[], -Duration::days(1));
    bank.write("issuing.crl", &of_leaf);
    let _hub = hub(&mut bank, server);
    for (of_root, said) in [
        (clean, None),
        (revoked, Some("it is revoked")),
        (old, Some("fetch the Trust Framework's CRL anew")),
    ] {
        bank.write("root.crl", &of_root);
        bank.configure(|settings| {
            settings.trust_lines = "crls = [\"issuing.crl\", \"root.crl\"]".to_owned();
        });
        let run = bank.run(&["verify"]);
        match said {
            None => assert_eq!(run.code, 0, "{run:?}"),
            Some(said) => assert!(run.code == 5 && run.stdout.contains(said), "{run:?}"),
        }
    }
}

/// Lists count in each mode: where public trust is the only one, the leaf's status has to be in one.
#[test]
fn a_crl_is_enforced_with_public_trust() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let public = TrustFramework::new(Kind::Production);
    let store = bank.write("store.pem", &public.bundle_pem());
    let store: [(&str, &Path); 1] = [("SSL_CERT_FILE", &store)];
    let server = public.issue_server(&NAMES);
    let week = Duration::days(7);
    let revoked = public.crl(&[&server.chain_der[0]], week);
    let clean = public.crl(&[], week);
    let of_others = bank.framework.crl(&[], week);
    let _hub = hub(&mut bank, server);
    for (mode, list, code) in [
        ("public", &clean, 0),
        ("public", &revoked, 5),
        ("public", &of_others, 5),
        ("both", &clean, 0),
        ("both", &revoked, 5),
        // The Trust Framework's list says nothing of a certificate of a public CA.
        ("both", &of_others, 0),
    ] {
        bank.write("list.crl", list);
        bank.configure(|settings| {
            settings.trust = mode;
            settings.trust_lines = "crls = [\"list.crl\"]".to_owned();
        });
        let run = bank.run_with(&["verify"], &store);
        assert_eq!(run.code, code, "{mode}: {run:?}");
    }
}

/// The Issuing CA is in the bundle, so a server that forgets to send it is understood all the same.
#[test]
fn a_hub_that_sends_its_leaf_alone_is_understood() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut server = bank.framework.issue_server(&NAMES);
    server.chain_der.truncate(1);
    let _hub = hub(&mut bank, server);
    bank.run(&["verify"]).expect(0);
}

/// The library verifies no signature of such a key: that is no sign of an impostor.
#[test]
fn a_hub_with_a_key_that_is_not_supported_is_not_called_an_impostor() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let openssl = OpenSsl::new();
    bank.framework.save(openssl.folder());
    std::fs::copy(openssl.path("issuing-key.pem"), openssl.path("issuing.key")).unwrap();
    assert!(openssl.key("hub", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"));
    openssl.request("hub", "/C=AE/O=Nebras/CN=localhost");
    let names = format!("{LEAF_EXTENSIONS},IP:127.0.0.1\n").replace("localhost\n,", "localhost,");
    openssl.write("hub.ext", names);
    assert!(openssl.issue("hub", "issuing", "hub.ext", "", "hub"));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut server = Command::new("openssl")
            .args(
                "s_server -accept 127.0.0.1:0 -cert hub.pem -key hub.key -cert_chain issuing.pem"
                    .split(' '),
            )
            .args("-CAfile bundle.pem -Verify 2 -www -cipher ALL:@SECLEVEL=0".split(' '))
            .arg(version)
            .current_dir(openssl.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.strip_prefix("ACCEPT ")?.rsplit_once(':')?;
            port.parse().ok()
        });
        bank.hub_at(port.expect("openssl tells its port"));
        let run = bank.run(&["verify"]);
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(run.code, 5, "{version}: {run:?}");
        let said = run.stdout + &run.stderr;
        assert!(
            said.contains("its kind of key (RSA-1024) is not supported here"),
            "{version}: {said}"
        );
        assert!(
            !said.contains("not the server that the certificate is of"),
            "{said}"
        );
    }
}
