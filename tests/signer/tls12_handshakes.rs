//! TLS 1.2: what the signer signs is a handshake with the hub, and no other message. The front end of these tests was taken
//! over: it believes any server, and writes the messages as it likes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::common::bank::Bank;
use crate::common::hostile_front_end::*;
use crate::common::openssl::{LEAF_EXTENSIONS, OpenSsl};
use crate::common::tls12_handshake::{Server, joined, messages, with_port, with_server};
use crate::common::trust_framework::{Kind, ServerIdentity, TrustFramework};

const SIGNED: u8 = 0x82;
const SERVER_KEY_EXCHANGE: u8 = 12;

/// A bank whose hub is at `localhost` and 127.0.0.1.
pub(crate) fn bank() -> Bank {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    bank
}

/// The certificates that the bank's client shows.
fn shown(bank: &Bank) -> Vec<CertificateDer<'static>> {
    let leaf = CertificateDer::from_pem_file(bank.path("c3.pem")).expect("a certificate");
    vec![leaf, bank.framework.issuing_der().clone()]
}

/// A handshake with a server of this identity.
pub(crate) fn handshake(bank: &Bank, name: &str, server: &ServerIdentity) -> Vec<u8> {
    let server = Server::of(server, bank.framework.root_der());
    with_server(&shown(bank), name, &server)
}

fn asked(front_end: &FrontEnd, message: Vec<u8>) -> SignatureRequest {
    SignatureRequest {
        purpose: TLS12,
        ..front_end.good(message)
    }
}

pub(crate) fn signs(front_end: &FrontEnd, message: Vec<u8>) -> bool {
    let answer = front_end.ask(0, &frame(1, &asked(front_end, message)));
    answer[1] == SIGNED
}

pub(crate) fn accepts(front_end: &FrontEnd, message: Vec<u8>) {
    let answer = front_end.ask(0, &frame(1, &asked(front_end, message)));
    assert_eq!(answer[1], SIGNED, "{}", String::from_utf8_lossy(&answer));
}

pub(crate) fn refuses(front_end: &FrontEnd, message: Vec<u8>, why: &str) {
    front_end.refuses(&frame(1, &asked(front_end, message)), why);
}

#[test]
fn a_handshake_with_the_hub_is_signed() {
    let bank = bank();
    let front_end = FrontEnd::start(&bank);
    let server = bank.framework.issue_server(&["localhost", "127.0.0.1"]);
    for name in ["localhost", "127.0.0.1"] {
        accepts(&front_end, handshake(&bank, name, &server));
    }
    // A chain without its CA, which is in the bundle.
    let mut alone = server;
    alone.chain_der.truncate(1);
    accepts(&front_end, handshake(&bank, "localhost", &alone));
}

/// Through the whole product, with the certificates that a stranger's server shows.
#[test]
fn a_strangers_server_is_called_over_tls_1_2() {
    let mut bank = bank();
    let openssl = OpenSsl::new();
    bank.framework.save(openssl.folder());
    fs::copy(openssl.path("issuing-key.pem"), openssl.path("issuing.key")).unwrap();
    let names = format!("{LEAF_EXTENSIONS},IP:127.0.0.1\n").replace("localhost\n,", "localhost,");
    openssl.write("hub.ext", names);
    for (key, suffix) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", ""),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:4096", ""),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", ""),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", ""),
        ("-algorithm ED25519", ""),
        (
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            "-status_file stapled.der",
        ),
        (
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            "-status_file stapled.der -curves P-384",
        ),
    ] {
        assert!(openssl.key("hub", key));
        openssl.request("hub", "/C=AE/O=Nebras/CN=localhost");
        assert!(openssl.issue("hub", "issuing", "hub.ext", "", "hub"));
        openssl.write("index.txt", "");
        openssl.run(
            "ocsp -index index.txt -CA issuing.pem -rsigner issuing.pem -rkey issuing.key -issuer issuing.pem \
             -cert hub.pem -respout stapled.der",
        );
        let mut server = s_server(&openssl, suffix);
        let port = port_of(&mut server);
        bank.hub_at(port);
        for service in ["cm:/", "hh:/"] {
            let run = bank.run(&["request", "GET", service]);
            assert_eq!(run.code, 0, "{key} {suffix}: {run:?}");
            assert!(run.stdout.contains("TLSv1.2"), "{key} {suffix}: {run:?}");
        }
        let transcript = with_port(&shown(&bank), "localhost", port);
        let types: Vec<_> = messages(&transcript).iter().map(|(it, _)| *it).collect();
        assert_eq!(types.contains(&22), !suffix.is_empty(), "{types:?}");
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

fn s_server(openssl: &OpenSsl, further: &str) -> Child {
    Command::new("openssl")
        .args(
            "s_server -accept 127.0.0.1:0 -cert hub.pem -key hub.key -cert_chain issuing.pem"
                .split(' '),
        )
        .args("-CAfile bundle.pem -Verify 2 -www -tls1_2".split(' '))
        .args(further.split_whitespace())
        .current_dir(openssl.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn port_of(server: &mut Child) -> u16 {
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.map_while(Result::ok).find_map(|line| {
        let (_, port) = line.strip_prefix("ACCEPT ")?.rsplit_once(':')?;
        port.parse().ok()
    });
    port.expect("openssl tells its port")
}

#[test]
fn a_handshake_with_any_other_server_is_refused() {
    let bank = bank();
    let front_end = FrontEnd::start(&bank);
    let root = bank.framework.root_der();
    let other = TrustFramework::new(Kind::Sandbox).issue_server(&["localhost"]);
    refuses(
        &front_end,
        handshake(&bank, "localhost", &other),
        "not the hub",
    );
    // Of the right CA, and somebody else's.
    let elsewhere = bank.framework.issue_server(&["evil.example"]);
    for (name, why) in [
        ("evil.example", "not a configured host"),
        ("localhost", "is for evil.example, not for localhost"),
        ("127.0.0.1", "not for 127.0.0.1"),
        ("127.0.0.2", "not for 127.0.0.1"),
    ] {
        refuses(&front_end, handshake(&bank, name, &elsewhere), why);
    }
    let expired = bank.framework.issue_server_with(&["localhost"], |params| {
        params.not_after = params.not_before + time::Duration::minutes(1);
    });
    refuses(
        &front_end,
        handshake(&bank, "localhost", &expired),
        "it expired at",
    );
    // The hub's certificates in front of another key.
    let hub = bank.framework.issue_server(&["localhost"]);
    let impostor = Server {
        key: &elsewhere.key_der,
        ..Server::of(&hub, root)
    };
    refuses(
        &front_end,
        with_server(&shown(&bank), "localhost", &impostor),
        "signature in the handshake is not that of the hub's certificate",
    );
    // The hub's signature in another handshake.
    let (mut one, two) = (
        messages(&handshake(&bank, "localhost", &hub)),
        messages(&handshake(&bank, "localhost", &hub)),
    );
    let key_exchange = one.iter().position(|(it, _)| *it == SERVER_KEY_EXCHANGE);
    let key_exchange = key_exchange.unwrap();
    one[key_exchange] = two[key_exchange].clone();
    refuses(
        &front_end,
        joined(&one),
        "signature in the handshake is not that of the hub's certificate",
    );
    // A text in the place of a CA's certificate.
    let mut foreign = hub.clone();
    foreign
        .chain_der
        .extend(other.chain_der.iter().skip(1).cloned());
    refuses(
        &front_end,
        handshake(&bank, "localhost", &foreign),
        "a certificate of no CA of the trust anchors",
    );
    drop(front_end);
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    assert_eq!(
        ledger.matches("\"kind\":\"refused\"").count(),
        9,
        "{ledger}"
    );
    assert!(ledger.contains("not the hub"), "{ledger}");
}

#[test]
fn another_clients_certificate_is_refused() {
    let bank = bank();
    let front_end = FrontEnd::start(&bank);
    let server = bank.framework.issue_server(&["localhost"]);
    let server = Server::of(&server, bank.framework.root_der());
    let why = "not that of this key";
    let mut ours = shown(&bank);
    let others = Bank::new();
    others.certify("rsa-2048");
    refuses(
        &front_end,
        with_server(&shown(&others), "localhost", &server),
        why,
    );
    refuses(
        &front_end,
        with_server(&ours[..1], "localhost", &server),
        why,
    );
    // Another one for this key is, if it is of our CA.
    let again = CertificateDer::from_pem_slice(bank.issue().as_bytes()).unwrap();
    assert_ne!(again, ours[0]);
    let ca = ours[1].clone();
    accepts(
        &front_end,
        with_server(&[again.clone(), ca.clone()], "localhost", &server),
    );
    let elsewhere = TrustFramework::new(Kind::Sandbox).issue_client(&bank.csr());
    let elsewhere = CertificateDer::from_pem_slice(elsewhere.as_bytes()).unwrap();
    refuses(
        &front_end,
        with_server(&[elsewhere, ca.clone()], "localhost", &server),
        why,
    );
    ours.push(again);
    refuses(&front_end, with_server(&ours, "localhost", &server), why);
}

#[test]
fn a_hub_that_was_revoked_is_not_signed_to() {
    let mut bank = bank();
    let server = bank.framework.issue_server(&["localhost"]);
    let list = |bank: &Bank, revoked: bool| {
        let serials: &[&CertificateDer<'_>] = match revoked {
            true => &[&server.chain_der[0]],
            false => &[],
        };
        let text = bank.framework.crl(serials, time::Duration::days(1));
        bank.write("list.crl", &text);
    };
    bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
    list(&bank, false);
    let front_end = FrontEnd::start(&bank);
    accepts(&front_end, handshake(&bank, "localhost", &server));
    list(&bank, true);
    // It is read when a signer starts.
    accepts(&front_end, handshake(&bank, "localhost", &server));
    let front_end = FrontEnd::start(&bank);
    refuses(
        &front_end,
        handshake(&bank, "localhost", &server),
        "revoked",
    );
}

/// The front end's file may be another one: it is not for the signer to fail TLS 1.3 for a list that it cannot read.
#[test]
fn without_the_lists_tls_1_2_is_refused_and_tls_1_3_is_signed() {
    let mut bank = bank();
    let server = bank.framework.issue_server(&["localhost"]);
    bank.configure(|settings| settings.trust_lines = "crls = [\"missing.crl\"]".to_owned());
    let front_end = FrontEnd::start(&bank);
    let transcript = handshake(&bank, "localhost", &server);
    let answer = front_end.ask(0, &frame(1, &asked(&front_end, transcript)));
    let told = String::from_utf8_lossy(&answer[10..]);
    assert!(told.contains("no handshake of TLS 1.2 is signed"), "{told}");
    assert!(told.contains("missing.crl"), "{told}");
    assert!(told.contains("\"configuration\""), "{told}");
    front_end.serves(1);
}

#[test]
fn a_sandbox_without_the_lists_is_named() {
    let mut bank = bank();
    let server = bank.framework.issue_server(&["localhost"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let list = elsewhere.path().join("list.crl");
    fs::write(&list, bank.framework.crl(&[], time::Duration::days(1))).unwrap();
    let token = bank.token.conf().parent().unwrap().display().to_string();
    let own = bank.folder().display().to_string();
    bank.configure(|settings| {
        settings.trust_lines = format!("crls = [\"{}\"]", list.display());
        settings.sections += &format!(
            "[signer]\nlandlock = {{ read = [\"/usr\", \"/etc\", \"/proc\", \"/dev\", \"{own}\"], write = [\"{token}\", \"{own}\"] }}\n"
        );
    });
    let front_end = FrontEnd::start(&bank);
    let transcript = handshake(&bank, "localhost", &server);
    let answer = front_end.ask(0, &frame(1, &asked(&front_end, transcript)));
    let told = String::from_utf8_lossy(&answer[10..]);
    assert!(
        told.contains("list.crl") && told.contains("ermission denied"),
        "{told}"
    );
    assert!(told.contains("`read` of `landlock` in [signer]"), "{told}");
    front_end.serves(1);
}
