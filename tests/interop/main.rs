//! The key of each token against each server: RSA, ECDSA and Ed25519 where the token has it, TLS 1.2 and 1.3. A connection
//! counts where the server required the certificate, verified it against its CA, and says that it saw ours.
//!
//! `INTEROP_PAGE` names the page that the results go to: then all tokens and key types are tried, kryoptic from
//! `INTEROP_KRYOPTIC`. `make interop` does that and writes docs/interop.md. A part of it is among the tests, so that the
//! rest keeps working: SoftHSM with a P-256 key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(unreachable_pub, reason = "pub is what the other modules use")]

#[path = "../common/mod.rs"]
mod common;

mod key_trial;
mod known_limit;
mod page;
mod peer;
mod server_process;
mod token_under_test;
mod version;

use std::path::Path;

use common::bank::Bank;
use common::generated_page;
use common::kryoptic_token::{self, KryopticToken};
use common::opencryptoki::OpenCryptoki;
use common::pin_change::{change_and_lose_token, change_under_load};
use common::trust_framework::{Kind, TrustFramework};
use common::whole_path::whole_path;
use common::whole_rotation::{of_c3, of_sig4};
use key_trial::{KEY_TYPES, TokenTrial};
use peer::{PEERS, Served, Server, VERSIONS};
use token_under_test::TokenUnderTest;

const PAGE: &str = "INTEROP_PAGE";
/// Where the process in openCryptoki's namespaces leaves its results.
const RESULT: &str = "INTEROP_RESULT";

#[test]
fn each_token_meets_each_server() {
    let Some(page) = std::env::var_os(PAGE) else {
        let softhsm = TokenTrial::of(TokenUnderTest::softhsm(), &["p-256"]);
        assert_eq!(known_limit::unexplained(&[softhsm]), Vec::<String>::new());
        return;
    };
    let Some(opencryptoki) = opencryptoki() else {
        return;
    };
    let mut trials = vec![
        TokenTrial::of(TokenUnderTest::softhsm(), &KEY_TYPES),
        TokenTrial::of(TokenUnderTest::p11_kit(), &KEY_TYPES),
        TokenTrial::of(TokenUnderTest::kryoptic(), &KEY_TYPES),
        opencryptoki,
        TokenTrial::of(TokenUnderTest::tpm2(), &KEY_TYPES),
        TokenTrial::of(TokenUnderTest::nss_softokn(), &KEY_TYPES),
    ];
    known_limit::explain(&mut trials);
    let text = page::markdown(&trials);
    println!("{text}");
    generated_page::write(page.as_ref(), "interop", &text);
    assert_eq!(known_limit::unexplained(&trials), Vec::<String>::new());
    assert_eq!(known_limit::stale(&trials), Vec::<String>::new());
    for key_type in ["rsa-2048", "p-256"] {
        let mut bank = Bank::new();
        let token = KryopticToken::new();
        token.configure(&mut bank);
        whole_path(&mut bank, "kryoptic", key_type);
    }
}

/// Tried in namespaces of its own, in a process that runs the same test; `None` in that process.
fn opencryptoki() -> Option<TokenTrial> {
    let dir = tempfile::tempdir().unwrap();
    let result = dir.path().join("opencryptoki.json");
    let variables = [(RESULT, result.as_path())];
    match OpenCryptoki::in_namespaces_with(each_token_meets_each_server, &variables) {
        None => {
            let text = std::fs::read(&result).unwrap();
            Some(serde_json::from_slice(&text).unwrap())
        }
        Some(token) => {
            let trial = TokenTrial::of(TokenUnderTest::opencryptoki(token), &KEY_TYPES);
            let result = std::env::var_os(RESULT).unwrap();
            std::fs::write(Path::new(&result), serde_json::to_vec(&trial).unwrap()).unwrap();
            None
        }
    }
}

/// What the other tests do with SoftHSM, openCryptoki and a TPM: a PIN that is changed, and the rotation of both keys, while a proxy serves.
#[test]
fn kryoptic_under_load() {
    if std::env::var_os(kryoptic_token::MODULE).is_none() {
        // Where the module was not built, the same is done with SoftHSM: the fixtures keep working.
        of_c3(Bank::new(), "p-256", 50);
        return;
    }
    let on_kryoptic = |work: &dyn Fn(Bank)| {
        let mut bank = Bank::new();
        let token = KryopticToken::new();
        token.configure(&mut bank);
        work(bank);
    };
    on_kryoptic(&|bank| change_under_load(bank, "p-256"));
    on_kryoptic(&|bank| change_and_lose_token(bank, "p-256"));
    on_kryoptic(&|bank| of_c3(bank, "rsa-2048", 50));
    on_kryoptic(&|bank| of_sig4(bank, "rsa-2048", 50));
}

/// That a server took a certificate says little of one that takes any.
#[test]
fn each_server_refuses_a_certificate_of_another_ca() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let served = Served {
        client_roots_pem: TrustFramework::new(Kind::Production).bundle_pem(),
        ..Served::of(&bank.framework)
    };
    for peer in PEERS {
        for version in VERSIONS {
            let server = Server::start(peer, version, &served);
            bank.hub_at(server.port());
            let run = bank.run(&["request", "GET", "cm:/hello-mtls"]);
            // nginx tells it by HTTP: the handshake is good.
            let refused = match peer {
                peer::Peer::Nginx => run.code == 1 && run.stdout.contains("400"),
                _ => run.code == 5,
            };
            assert!(refused, "{peer:?} {version:?}: {run:?}");
        }
    }
}
