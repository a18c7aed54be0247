//! `trust update` of CRLs from servers that misbehave or are not there, from another's server, and of a list as large as they come.

use std::fs;
use std::process::{Command, Stdio};

use super::trust_crls::{DAY, WEEK, bank_at, bundle, configure, issuing_ca, only_step, update};
use crate::common::openssl::OpenSsl;
use crate::common::poll::until;
use crate::common::ports;
use crate::common::published_files::PublishedFiles;

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
    issuing_ca(&openssl, "ca.ext");
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
    bank.write("anchors.pem", &bundle(&openssl));
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

/// A list of a million entries, as large CAs have them.
#[test]
fn a_list_of_50_megabytes_is_taken_within_bounds() {
    let server = PublishedFiles::start();
    let mut bank = bank_at(&server.url());
    let list = bank.framework.crl_of_many(1_200_000);
    assert!(list.len() > 45_000_000, "{}", list.len());
    server.publish(&list);
    let line = format!(
        "ulimit -v 1000000; exec '{}' --config '{}' trust update --crls --json",
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
