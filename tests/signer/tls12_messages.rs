//! The messages of a handshake with the hub, changed: no text fits into them, and no byte of them may be another one, but for
//! those that both sides draw at random.

use super::tls12_handshakes::{accepts, bank, handshake, refuses, signs};
use crate::common::bank::Bank;
use crate::common::hostile_front_end::FrontEnd;
use crate::common::tls12_handshake::{joined, messages};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const CLIENT_KEY_EXCHANGE: u8 = 16;
/// The places of certificates in a handshake without a stapled response.
const OF_THE_SERVER: usize = 2;
const OF_THE_CLIENT: usize = 6;

#[test]
fn no_text_is_signed_in_a_handshake_with_the_hub() {
    let bank = bank();
    let front_end = FrontEnd::start(&bank);
    let server = bank.framework.issue_server(&["localhost"]);
    let good = messages(&handshake(&bank, "localhost", &server));
    let changed = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut all = good.clone();
        change(&mut all[at].1);
        joined(&all)
    };
    let text = vec![b'x'; 100 << 10];
    let with_extension = |extension: &[u8]| {
        changed(0, &|hello| {
            let mut at = 34;
            at += 1 + usize::from(hello[at]);
            at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
            at += 1 + usize::from(hello[at]);
            let length = (hello.len() - at - 2 + extension.len()) as u16;
            hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
            hello.extend(extension);
        })
    };
    let of = |number: u8, body: &[u8]| {
        let length = (body.len() as u16).to_be_bytes();
        [&[0, number][..], &length, body].concat()
    };
    let kinds = [
        CLIENT_HELLO,
        SERVER_HELLO,
        CERTIFICATE,
        SERVER_KEY_EXCHANGE,
        CERTIFICATE_REQUEST,
        14,
        CERTIFICATE,
        CLIENT_KEY_EXCHANGE,
    ];
    assert_eq!(good.iter().map(|(it, _)| *it).collect::<Vec<_>>(), kinds);
    let mut cases = vec![
        (text.clone(), "ClientHello is not where it belongs"),
        (
            [&[1, 1, 0x90, 0][..], &text].concat(),
            "ClientHello is not as",
        ),
        // What was signed once: 32 bytes of the right types.
        (
            joined(&kinds.map(|it| (it, Vec::new()))),
            "ClientHello is not as",
        ),
        (
            changed(0, &|hello| hello.extend(&text)),
            "ClientHello is not as in a handshake of ours (end)",
        ),
        (
            with_extension(&of(21, &text[..40_000])),
            "an extension that is not ours",
        ),
        (
            with_extension(&of(35, &text[..400])),
            "an extension that is not ours",
        ),
        (with_extension(&of(23, &[])), "(extensions)"),
        (with_extension(&of(43, &text[..400])), "(extensions)"),
        (
            [joined(&good), text.clone()].concat(),
            "something is behind its end",
        ),
        (
            [joined(&good), vec![0]].concat(),
            "something is behind its end",
        ),
        (joined(&good[1..]), "ClientHello is not where it belongs"),
        (
            joined(&good[..7]),
            "ClientKeyExchange is not where it belongs",
        ),
    ];
    for at in 0..good.len() {
        cases.push((
            changed(at, &|body| body.push(0)),
            "is not as in a handshake of ours",
        ));
        let mut twice = good.clone();
        twice.insert(at, good[at].clone());
        let why = match at == good.len() - 1 {
            true => "something is behind its end",
            false => "is not where it belongs",
        };
        cases.push((joined(&twice), why));
        let mut without = good.clone();
        without.remove(at);
        cases.push((joined(&without), "is not where it belongs"));
    }
    for (message, why) in cases {
        refuses(&front_end, message, why);
    }
    // In a certificate's place.
    let cert = [&[0, 1, 3, 0, 1, 0][..], &vec![b'x'; 256]].concat();
    for at in [OF_THE_SERVER, OF_THE_CLIENT] {
        refuses(
            &front_end,
            changed(at, &|body| body.clone_from(&cert)),
            "(certificate)",
        );
    }
    accepts(&front_end, joined(&good));
}

/// Where a changed byte does no harm is where both sides draw at random, and in what the server says it accepts.
#[test]
fn of_all_bytes_only_the_random_ones_may_be_others() {
    let bank = bank_without_ledger();
    let front_end = FrontEnd::start(&bank);
    let server = bank.framework.issue_server(&["localhost"]);
    let good = handshake(&bank, "localhost", &server);
    let all = messages(&good);
    let mut start = 0;
    for (place, (number, body)) in all.iter().enumerate() {
        let body_start = start + 4;
        start = body_start + body.len();
        let free = free_bytes(*number, body);
        for at in body_start - 4..start {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let signed = signs(&front_end, changed);
            let is_free = at >= body_start && free.contains(&(at - body_start));
            // What the server asks for is whatever it is, if it is well-formed.
            let may_be_free = *number == CERTIFICATE_REQUEST && at >= body_start;
            assert!(
                signed == is_free || may_be_free,
                "{place} at {at}: {signed}"
            );
        }
    }
}

fn bank_without_ledger() -> Bank {
    let mut bank = bank();
    bank.configure(|settings| settings.sections = "[signer]\nper_second = 100000\n".to_owned());
    bank
}

/// The places of session ids and public keys of X25519 and ML-KEM.
fn free_bytes(number: u8, body: &[u8]) -> Vec<usize> {
    let session_id = 35..35 + usize::from(body.get(34).copied().unwrap_or_default());
    match number {
        CLIENT_HELLO => {
            let mut free: Vec<_> = session_id.collect();
            // 1216 bytes of X25519MLKEM768, and 32 of X25519.
            for head in [[0x11, 0xec, 0x04, 0xc0], [0x00, 0x1d, 0x00, 0x20]] {
                let at = body.windows(4).position(|found| found == head).unwrap() + 4;
                free.extend(at..at + usize::from(u16::from_be_bytes([head[2], head[3]])));
            }
            free
        }
        SERVER_HELLO => session_id.collect(),
        CLIENT_KEY_EXCHANGE => (1..body.len()).collect(),
        _ => Vec::new(),
    }
}
