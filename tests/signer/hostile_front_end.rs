//! A compromised front end: every request beyond what a TLS handshake needs is refused and recorded, and the next
//! request is served. The bytes are written here: they are an attacker's, and they are the protocol of both sides.

use std::fs;
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::hostile_front_end::*;
use crate::common::poll::until;
use crate::common::{procfs, signer_process};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::Scheme;
use hsm_mtls::internal::ledger::verify;
use serde_json::Value;

#[test]
fn what_a_hostile_front_end_asks_is_refused_recorded_and_the_next_one_served() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    let front_end = FrontEnd::start(&bank);
    let good = || front_end.good(certificate_verify("client"));
    let digest_info = [&[0x30, 0x31, 0x30, 0x0d][..], &[7; 47]].concat();
    let jwt = b"eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJzb21lYm9keSJ9".to_vec();
    let hello_only = [&[1, 0, 0, 2, 3, 3][..]].concat();
    let with = |change: &dyn Fn(&mut SignatureRequest)| {
        let mut asked = good();
        change(&mut asked);
        frame(1, &asked)
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            with(&|asked| asked.message = vec![7; 32]),
            "no client's CertificateVerify",
        ),
        (
            with(&|asked| asked.message = digest_info.clone()),
            "no client's CertificateVerify",
        ),
        (
            with(&|asked| asked.message = certificate_verify("server")),
            "no client's CertificateVerify",
        ),
        (
            with(&|asked| asked.message = jwt.clone()),
            "no client's CertificateVerify",
        ),
        (
            with(&|asked| asked.message = Vec::new()),
            "no client's CertificateVerify",
        ),
        (
            with(&|asked| {
                asked.purpose = TLS12;
                asked.message = hello_only.clone();
            }),
            "no handshake of TLS 1.2",
        ),
        (
            with(&|asked| asked.purpose = TLS12),
            "no handshake of TLS 1.2",
        ),
        (
            with(&|asked| asked.purpose = PROOF),
            "no challenge of a proof",
        ),
        (
            with(&|asked| {
                asked.purpose = PROOF;
                asked.message = vec![7; 32];
            }),
            "no challenge of a proof",
        ),
        (
            with(&|asked| asked.purpose = CSR),
            "nothing that a front end has a use for",
        ),
        (
            with(&|asked| asked.purpose = SELF_TEST),
            "nothing that a front end has a use for",
        ),
        (
            with(&|asked| {
                asked.purpose = UNKNOWN;
                asked.message = jwt.clone();
            }),
            "unknown purpose",
        ),
        (
            with(&|asked| {
                asked.purpose = JWT;
                asked.message = jwt.clone();
            }),
            "jwt is no purpose of this key",
        ),
        (with(&|asked| asked.key = [7; 32]), "another key"),
        (
            with(&|asked| asked.scheme = ECDSA_P256),
            "no scheme of this key",
        ),
        (
            with(&|asked| asked.scheme = RSA_PKCS1_SHA256),
            "no scheme of TLS 1.3",
        ),
        (
            with(&|asked| asked.scheme = 0x0203),
            "unknown signature scheme",
        ),
        (
            with(&|asked| asked.peer = "a\nb"),
            "a peer or an interaction id that is none",
        ),
        (
            with(&|asked| asked.peer = "\x1b[2J"),
            "a peer or an interaction id that is none",
        ),
        (with(&|_| ())[..40].to_vec(), "ends too early"),
        (
            [with(&|_| ()), vec![0]].concat(),
            "something behind its end",
        ),
        ([&[9, 2][..], &with(&|_| ())[2..]].concat(), "version 9"),
        (
            [&[2, 0x82][..], &with(&|_| ())[2..]].concat(),
            "unknown kind",
        ),
        (vec![2], "ends too early"),
        (Vec::new(), "ends too early"),
        (vec![2; 170 << 10], "a frame of 174080 bytes"),
    ];
    let count = cases.len();
    for (bytes, why) in cases {
        front_end.refuses(&bytes, why);
    }
    // Out of order: several at once on one channel are answered one after the other.
    for id in 1..=3 {
        let bytes = frame(id, &good());
        front_end.send(0, &bytes);
    }
    for id in 1..=3_u64 {
        let answer = front_end.take(0).unwrap();
        assert_eq!((answer[1], &answer[2..10]), (0x82, &id.to_le_bytes()[..]));
    }
    // Asked for long ago, so to say: nothing is signed for somebody who has gone.
    let mut late = frame(5, &good());
    late[2 + 8 + 32 + 1 + 2..][..8].copy_from_slice(&1_u64.to_le_bytes());
    let told = front_end.ask(0, &late);
    assert!(
        String::from_utf8_lossy(&told).contains("\"deadline\""),
        "{told:?}"
    );

    let ledger = bank.path("ledger.jsonl");
    drop(front_end);
    let text = fs::read_to_string(&ledger).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let refused = records
        .iter()
        .filter(|record| record["kind"] == "refused")
        .count();
    assert_eq!(refused, count, "each refusal is on record");
    let attempts = records
        .iter()
        .filter(|record| record["kind"] == "attempt")
        .count();
    assert_eq!(
        attempts,
        2 * count + 3,
        "and nothing that was refused was attempted"
    );
    let history = verify::verify(&ledger, None).unwrap();
    assert!(history.unfinished.is_empty(), "{history:?}");
}

#[test]
fn a_front_end_cannot_use_the_key_faster_than_is_configured() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.sections =
            "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n[signer]\nper_second = 20\nburst = 20\n"
                .to_owned();
    });
    let front_end = FrontEnd::start(&bank);
    let asked = front_end.good(certificate_verify("client"));
    let answers: Vec<_> = (0..200)
        .map(|id| front_end.ask(0, &frame(id, &asked))[1])
        .collect();
    let signed = answers.iter().filter(|kind| **kind == 0x82).count();
    assert!((20..100).contains(&signed), "{signed} of 200");
    drop(front_end);
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let refused = text
        .lines()
        .filter(|line| line.contains("\"kind\":\"refused\""))
        .count();
    // The ledger's disk is not to be filled with them.
    assert!((1..110).contains(&refused), "{refused}");
}

#[test]
fn the_ledger_is_not_filled_with_refusals_and_others_are_served_meanwhile() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    let front_end = FrontEnd::start(&bank);
    let mut asked = front_end.good(certificate_verify("client"));
    asked.scheme = ECDSA_P256;
    asked.key = [7; 32];
    for id in 0..2000 {
        let answer = front_end.ask(0, &frame(id, &asked));
        assert_eq!(answer[1], 0x83);
        if id % 500 == 0 {
            asked.key = front_end.key;
            let good = front_end.ask(1, &frame(id, &asked));
            assert_eq!(good[1], 0x82, "{}", String::from_utf8_lossy(&good));
            asked.key = [7; 32];
        }
    }
    drop(front_end);
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let refused: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "refused")
        .collect();
    assert!((100..400).contains(&refused.len()), "{}", refused.len());
    let left_out: u64 = refused
        .iter()
        .map(|record| record["left_out"].as_u64().unwrap())
        .sum();
    assert!(left_out <= 2000 - refused.len() as u64);
}

/// It costs the front end its channel, and nobody else anything.
#[test]
fn a_channel_that_is_half_closed_is_let_go_of() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    let front_end = FrontEnd::start(&bank);
    let its_own = || procfs::has_thread(front_end.pid(), "hsm-channel-0");
    until("it has a thread", its_own);
    front_end.half_close(0);
    until("its thread has ended", || !its_own());
    front_end.serves(1);
    drop(front_end);
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    assert!(!text.contains("\"kind\":\"refused\""), "{text}");
}

#[test]
fn the_signer_is_started_by_nobody_else() {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let run = bank.run(&["signer"]).expect(2);
    assert!(run.stderr.contains("started by hsm-mtls itself"), "{run:?}");
    assert!(signer_process::signers(&bank).is_empty());
}

/// What is signed is a signature: checked with other code than the signer's.
#[test]
fn what_is_signed_verifies() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| settings.token_lines = "timeout = \"2s\"".to_owned());
    let front_end = FrontEnd::start(&bank);
    let message = certificate_verify("client");
    let answer = front_end.ask(1, &frame(1, &front_end.good(message.clone())));
    let described = front_end.ask(0, &[&[2, 1][..], &7_u64.to_le_bytes()].concat());
    let described: Value = serde_json::from_slice(&described[10..]).unwrap();
    let key = PublicKey::from_spki(&base64(described["spki"].as_str().unwrap())).unwrap();
    assert!(key.verifies(Scheme::RsaPssSha256, &message, &answer[10..]));
    let parts = described["hardening"].as_array().unwrap();
    for part in [
        "not dumpable",
        "no core file",
        "no new privileges",
        "only the needed descriptors",
        "memory locked",
    ] {
        let found = parts
            .iter()
            .find(|found| found["name"] == part)
            .expect(part);
        assert_eq!(found["in_force"], true, "{found}");
    }
    assert!(Duration::from_secs(2) == signer_process::config(&bank).token.timeout);
}
