//! `trust update` of CRLs: what is published takes the place of the file if it is newer, whole and of our CA. Everything else
//! leaves the file as it was, and has a name of its own.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use time::Duration;

use crate::common::bank::{Bank, Run};
use crate::common::openssl::OpenSsl;
use crate::common::poll::until;
use crate::common::ports;
use crate::common::published_files::PublishedFiles;
use crate::common::trust_framework::{Kind, TrustFramework};

const DAY: Duration = Duration::days(1);
const WEEK: Duration = Duration::days(7);

fn bank_at(url: &str) -> Bank {
    let mut bank = Bank::new();
    configure(&mut bank, url);
    bank
}

fn configure(bank: &mut Bank, url: &str) {
    bank.configure(|settings| {
        settings.trust_lines = format!("crls = [{{ file = \"issuer.crl\", url = \"{url}\" }}]");
    });
}

fn update(bank: &Bank) -> Run {
    bank.run(&["trust", "update", "--crls", "--json"])
}

fn only_step(run: &Run) -> Value {
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
fn a_server_that_misbehaves_or_is_not_there_is_told_apart() {
    let server = PublishedFiles::start();
    let mut bank = bank_at(&server.url());
    let list = bank.framework.crl_numbered(5, DAY, &[], WEEK);
    let promised = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n";
    for (answer, words, tries) in [
        (
            redirect.into(),
            "leads to http://127.0.0.1:1/x; it was not followed",
            1,
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
            "the status 404",
            1,
        ),
        (
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".into(),
            "the status 503",
            3,
        ),
        (promised(65 << 20), "longer than 65536 KiB", 1),
        (promised(list.len()), "in the middle of its answer", 3),
    ] {
        let answer: String = answer;
        server.answer(answer.into_bytes());
        let step = only_step(&update(&bank).expect(5));
        let detail = step["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{words}: {detail}");
        assert!(!step["hint"].as_str().unwrap().is_empty());
        assert_eq!(server.heads().len(), tries, "{words}");
        assert!(!bank.path("issuer.crl").exists(), "{words}");
    }
    configure(&mut bank, &PublishedFiles::nowhere());
    let step = only_step(&update(&bank).expect(5));
    assert!(
        step["detail"]
            .as_str()
            .unwrap()
            .contains("cannot be fetched: 127.0.0.1"),
        "{step}"
    );
}

/// Another's implementation makes the CA and the list, and another's publishes it.
#[test]
fn a_list_of_openssl_is_fetched_from_pythons_server() {
    let openssl = OpenSsl::new();
    for (name, cn) in [("root", "Root"), ("issuing", "Issuing")] {
        assert!(openssl.key(name, "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"));
        let subject = format!("/C=AE/CN={cn}");
        match name {
            "root" => openssl.root(name, &subject),
            _ => openssl.request(name, &subject),
        }
    }
    assert!(openssl.issue("issuing", "root", "ca.ext", "-sha512", "issuing"));
    let extensions = "authorityKeyIdentifier=keyid";
    assert!(openssl.list("issuing", "-sha512", extensions, "issuer"));
    let port = ports::unused();
    let mut python = Command::new("python3")
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &port.to_string(),
        ])
        .current_dir(openssl.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 is installed");
    until("python listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let bank = bank_at(&format!("http://127.0.0.1:{port}/issuer.crl"));
    bank.write(
        "anchors.pem",
        &(openssl.read("issuing.pem") + &openssl.read("root.pem")),
    );
    let run = update(&bank);
    python.kill().unwrap();
    python.wait().unwrap();
    run.expect(0);
    let shown = bank.run(&["trust", "show", "--json"]).expect(0).json();
    let list = &shown["crls"][0]["lists"][0];
    assert_eq!(list["issuer"], "C=AE, CN=Issuing", "{shown:#}");
    assert_eq!(list["signed_by_anchor"], true);
    assert_eq!(list["number"], "4096");
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

/// A list of a million entries, as large CAs have them.
#[test]
fn a_list_of_50_megabytes_is_taken_within_bounds() {
    let server = PublishedFiles::start();
    let mut bank = bank_at(&server.url());
    let list = bank.framework.crl_of_many(1_200_000);
    assert!(list.len() > 45_000_000, "{}", list.len());
    server.publish(&list);
    let line = format!(
        "ulimit -v 2000000; exec '{}' --config '{}' trust update --crls --json",
        env!("CARGO_BIN_EXE_hsm-mtls"),
        bank.config_path().display()
    );
    let done = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(fs::read(bank.path("issuer.crl")).unwrap(), list);
    bank.configure(|settings| settings.trust_lines = "crls = [\"issuer.crl\"]".to_owned());
    let shown = bank.run(&["trust", "show", "--json"]).expect(0).json();
    assert!(
        shown["crls"][0]["lists"][0]["entries"].as_u64() == Some(1_200_000),
        "{shown:#}"
    );
}
