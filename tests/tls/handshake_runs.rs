//! A handshake has two runs, and a server sees one: with each group, with and without a HelloRetryRequest, in both versions of
//! TLS, and however the network cuts what is sent. The server is nginx.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions, Protocols};

/// nginx's OpenSSL does not know the hybrid group, so the first of two makes it ask for another share.
const GROUPS: [&str; 5] = [
    "",
    "groups = [\"x25519\", \"secp256r1\"]",
    "groups = [\"secp384r1\", \"secp256r1\"]",
    "groups = [\"X25519MLKEM768\", \"secp256r1\"]",
    "groups = [\"X25519MLKEM768\", \"secp384r1\", \"secp256r1\"]",
];

fn nginx(bank: &Bank, protocols: Protocols) -> Nginx {
    let mut options = NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.protocols = protocols;
    Nginx::start(&options)
}

#[test]
fn a_server_sees_one_handshake_with_each_group() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for protocols in [Protocols::Tls12, Protocols::Tls13] {
        let nginx = nginx(&bank, protocols);
        bank.hub_at(nginx.port());
        for groups in GROUPS {
            bank.configure(|settings| settings.sections = format!("[tls]\n{groups}\n"));
            let answer = bank.run(&["request", "GET", "cm:/hello-mtls"]);
            assert_eq!(answer.code, 0, "{protocols:?} {groups}: {answer:?}");
        }
        let accesses = nginx.wait_for_accesses(GROUPS.len());
        assert_eq!(accesses.len(), GROUPS.len());
        assert!(
            accesses.iter().all(|access| access.verify == "SUCCESS"),
            "{accesses:?}"
        );
        assert!(
            !nginx.error_log().contains("SSL_do_handshake"),
            "{}",
            nginx.error_log()
        );
    }
}

/// Passes everything on in portions of `size` bytes at most. Counts the connections.
fn relay(size: usize, to: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (from, into) in [(client, server), back] {
                thread::spawn(move || pass_on(size, from, into));
            }
        }
    });
    (port, count)
}

fn pass_on(size: usize, mut from: TcpStream, mut into: TcpStream) {
    into.set_nodelay(true).unwrap();
    let mut portion = vec![0; size];
    while let Ok(length @ 1..) = from.read(&mut portion) {
        if into.write_all(&portion[..length]).is_err() {
            break;
        }
        thread::yield_now();
    }
    let _ = into.shutdown(Shutdown::Write);
}

#[test]
fn the_network_may_cut_what_is_sent_anywhere() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    for protocols in [Protocols::Tls12, Protocols::Tls13] {
        let nginx = nginx(&bank, protocols);
        for size in [1, 7, 333] {
            let (port, connections) = relay(size, nginx.port());
            bank.hub_at(port);
            let answer = bank.run(&["request", "GET", "cm:/hello-mtls"]);
            assert_eq!(answer.code, 0, "{protocols:?} {size}: {answer:?}");
            assert_eq!(connections.load(Ordering::Relaxed), 1);
        }
    }
}
