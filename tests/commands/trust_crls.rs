//! `trust update` of CRLs: what is published takes the place of the file if it is newer, whole and of our CA. Everything else
//! leaves the file as it was, and has a name of its own.

use std::fs;

use serde_json::Value;
use time::Duration;

use crate::common::bank::{Bank, Run};
use crate::common::openssl::OpenSsl;
use crate::common::published_files::PublishedFiles;
use crate::common::trust_framework::{Kind, TrustFramework};

pub(super) const DAY: Duration = Duration::days(1);
pub(super) const WEEK: Duration = Duration::days(7);

pub(super) fn bank_at(url: &str) -> Bank {
    let mut bank = Bank::new();
    configure(&mut bank, url);
    bank
}

pub(super) fn configure(bank: &mut Bank, url: &str) {
    bank.configure(|settings| {
        settings.trust_lines = format!("crls = [{{ file = \"issuer.crl\", url = \"{url}\" }}]");
    });
}

pub(super) fn update(bank: &Bank) -> Run {
    bank.run(&["trust", "update", "--crls", "--json"])
}

pub(super) fn only_step(run: &Run) -> Value {
    let steps = run.json()["steps"].clone();
    assert_eq!(steps.as_array().unwrap().len(), 1, "{steps:#}");
    steps[0].clone()
}

#[test]
fn a_newer_list_takes_the_place_of_the_file_and_an_older_one_never() {
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    let framework = &bank.framework;
    let file = || fs::read(bank.path("issuer.crl")).unwrap();
    let first = framework.crl_numbered(5, 2 * DAY, &[], WEEK);
    server.publish(&first);
    let run = update(&bank).expect(0);
    let written = bank.path("issuer.crl").display().to_string();
    assert_eq!(run.json()["changed"][0], written.as_str());
    assert_eq!(file(), first);
    let heads = server.heads();
    assert!(
        heads[0].starts_with("GET /issuer.crl HTTP/1.1\r\n"),
        "{heads:?}"
    );

    let run = update(&bank).expect(0);
    assert_eq!(run.json()["changed"], serde_json::json!([]));
    assert!(
        only_step(&run)["detail"]
            .as_str()
            .unwrap()
            .contains("nothing new")
    );

    let newer = framework.crl_numbered(256, DAY, &[framework.issuing_der()], WEEK);
    server.publish(&newer);
    let run = update(&bank).expect(0);
    assert!(
        only_step(&run)["detail"]
            .as_str()
            .unwrap()
            .contains("with 1 entries")
    );
    assert_eq!(file(), newer);

    // An old list, in which nothing is revoked yet, is a real one of the real CA.
    for (older, which) in [
        (first, "its date and number"),
        (framework.crl_numbered(300, 2 * DAY, &[], WEEK), "its date"),
        (
            framework.crl_numbered(255, Duration::HOUR, &[], WEEK),
            "its number",
        ),
    ] {
        server.publish(&older);
        let step = only_step(&update(&bank).expect(5));
        let detail = step["detail"].as_str().unwrap();
        assert!(
            detail.contains("older than the one that is there"),
            "{which}: {detail}"
        );
        assert_eq!(file(), newer, "{which}");
    }
    // The list of another CA of ours says nothing of the issuing CA's certificates.
    server.publish(framework.crl_of_root(&[], WEEK).as_bytes());
    let step = only_step(&update(&bank).expect(5));
    assert!(
        step["detail"]
            .as_str()
            .unwrap()
            .contains("and the file has that of"),
        "{step}"
    );
    assert_eq!(file(), newer);
}

#[test]
fn what_is_no_good_list_has_a_name_of_its_own_and_leaves_the_file() {
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    let framework = &bank.framework;
    let good = framework.crl_numbered(5, 2 * DAY, &[], WEEK);
    server.publish(&good);
    update(&bank).expect(0);
    let newer = framework.crl_numbered(6, DAY, &[], WEEK);
    let mut changed = newer.clone();
    *changed.last_mut().unwrap() ^= 1;
    let cut = &newer[..newer.len() - 100];
    let pem = framework.crl(&[], WEEK);
    let other = TrustFramework::new(Kind::Production);
    let namesake = TrustFramework::new(Kind::Sandbox);
    for (content, words) in [
        (b"".to_vec(), "it is empty"),
        (b"<!doctype html><p>Sign in".to_vec(), "it is HTML"),
        (b"{\"error\":\"no\"}".to_vec(), "it is JSON"),
        (cut.to_vec(), "it is cut off: 100 bytes are missing"),
        (
            pem.as_bytes()[..pem.len() / 2].to_vec(),
            "cut off or damaged",
        ),
        (pem.repeat(2).into_bytes(), "holds 2 CRLs"),
        (framework.issuing_pem().into_bytes(), "holds no CRL: "),
        (
            changed,
            "its signature is not accepted: it is not of the issuer's key",
        ),
        (
            namesake.crl_numbered(7, DAY, &[], WEEK),
            "its signature is not accepted",
        ),
        (
            other.crl_numbered(7, DAY, &[], WEEK),
            "none of the CAs in `anchors`",
        ),
        (
            framework.crl_numbered(7, DAY, &[], -Duration::HOUR),
            "the CRL is outdated",
        ),
        (
            framework.crl_numbered(7, -DAY, &[], WEEK),
            "this machine's clock says",
        ),
    ] {
        server.publish(&content);
        let step = only_step(&update(&bank).expect(5));
        let detail = step["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{words}: {detail}");
        assert_eq!(fs::read(bank.path("issuer.crl")).unwrap(), good, "{words}");
    }
    // A whole one after that is taken.
    server.publish(&newer);
    update(&bank).expect(0);
}

#[test]
fn a_file_of_several_lists_loses_none_of_them() {
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    let both = bank.framework.crl(&[], WEEK) + &bank.framework.crl_of_root(&[], WEEK);
    bank.write("issuer.crl", &both);
    server.publish(&bank.framework.crl_numbered(5, DAY, &[], WEEK));
    let step = only_step(&update(&bank).expect(2));
    assert!(
        step["detail"]
            .as_str()
            .unwrap()
            .contains("the file holds 2 CRLs"),
        "{step}"
    );
    assert_eq!(fs::read_to_string(bank.path("issuer.crl")).unwrap(), both);
}

/// A CA of the bundle whose keyUsage is for certificates only.
#[test]
fn a_list_that_its_ca_may_not_sign_is_not_taken() {
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    let openssl = OpenSsl::new();
    let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";
    openssl.write("certificates.ext", extensions);
    issuing_ca(&openssl, "certificates.ext");
    assert!(openssl.list(
        "issuing",
        "-sha512",
        "authorityKeyIdentifier=keyid",
        "issuer"
    ));
    bank.write("anchors.pem", &bundle(&openssl));
    server.publish(&fs::read(openssl.path("issuer.crl")).unwrap());
    let step = only_step(&update(&bank).expect(5));
    assert!(
        step["detail"].as_str().unwrap().contains("has no cRLSign"),
        "{step}"
    );
    assert!(!bank.path("issuer.crl").exists());
}

/// Some CAs write into each list where it is published, and split their lists.
#[test]
fn a_list_of_another_place_does_not_take_the_place_of_one() {
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    let openssl = OpenSsl::new();
    issuing_ca(&openssl, "ca.ext");
    bank.write("anchors.pem", &bundle(&openssl));
    let place = |name: &str| {
        format!(
            "authorityKeyIdentifier=keyid\nissuingDistributionPoint=critical,@idp\n[idp]\nfullname=URI:http://crl.example/{name}"
        )
    };
    for (name, code) in [("1.crl", 0), ("2.crl", 5), ("1.crl", 0)] {
        assert!(openssl.list("issuing", "-sha512", &place(name), "issuer"));
        server.publish(&fs::read(openssl.path("issuer.crl")).unwrap());
        let step = only_step(&update(&bank).expect(code));
        let detail = step["detail"].as_str().unwrap();
        let other = detail.contains("is for other certificates than the one that is there");
        assert_eq!(other, code != 0, "{name}: {detail}");
    }
}

pub(super) fn issuing_ca(openssl: &OpenSsl, extensions: &str) {
    for name in ["root", "issuing"] {
        assert!(openssl.key(name, "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"));
    }
    openssl.root("root", "/C=AE/CN=Root");
    openssl.request("issuing", "/C=AE/CN=Issuing");
    assert!(openssl.issue("issuing", "root", extensions, "-sha512", "issuing"));
}

pub(super) fn bundle(openssl: &OpenSsl) -> String {
    openssl.read("issuing.pem") + &openssl.read("root.pem")
}

#[test]
fn a_file_that_another_user_could_change_is_not_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = PublishedFiles::start();
    let bank = bank_at(&server.url());
    server.publish(&bank.framework.crl_numbered(5, DAY, &[], WEEK));
    let anchors = bank.path("anchors.pem");
    fs::set_permissions(&anchors, fs::Permissions::from_mode(0o666)).unwrap();
    let run = update(&bank).expect(2);
    assert!(run.stderr.contains("chmod"), "{run:?}");
    assert_eq!(server.heads(), Vec::<String>::new());
}
