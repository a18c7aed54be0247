//! A large revocation list: what it costs in memory, in each process and at each reload, and at each handshake. `make large-crl` does it with
//! 1.2 million entries, which are 50 MB.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::poll::found_within;
use crate::common::procfs::proportional_memory;
use crate::common::proxy::Proxy;
use crate::common::signer_process::signers;

/// How many entries the list has.
const ENTRIES: &str = "LARGE_CRL_ENTRIES";
const FEW: u64 = 200_000;
const RELOADS: usize = 6;
const MIB: u64 = 1 << 20;
/// What reading and checking a list may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// In bytes.
#[derive(Debug)]
struct Measured {
    signer: u64,
    front_end: u64,
    /// The least that was seen after each reload: what is read for a check is freed after it.
    after_reloads: Vec<u64>,
    handshake: Duration,
}

#[test]
fn memory_is_bounded_and_handshakes_stay_fast() {
    let entries = std::env::var(ENTRIES).map_or(FEW, |text| text.parse().unwrap());
    let mut bank = Bank::new();
    bank.certify("p-256");
    // Each request takes a handshake of its own.
    let hub = Nginx::start(&NginxOptions {
        requests_per_connection: 1,
        ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
    });
    bank.hub_at(hub.port());
    let list = bank.framework.crl_of_many(entries);
    let size = list.len() as u64;
    fs::write(bank.path("issuer.crl"), &list).unwrap();
    drop(list);
    let without = measured(&mut bank, "", 4 * MIB);
    let with = measured(&mut bank, "crls = [\"issuer.crl\"]", size / 2);
    println!(
        "{entries} entries, {} MiB; in MiB without the list: {}; with it: {}",
        size / MIB,
        without.in_words(),
        with.in_words()
    );
    // The list once, and what is read of it beside.
    for (name, with, without) in [
        ("signer", with.signer, without.signer),
        ("front end", with.front_end, without.front_end),
    ] {
        assert!(with < without + size * 3 / 2, "{name}: {with}, {without}");
    }
    assert!(
        with.handshake < without.handshake * 3 + Duration::from_millis(10),
        "{with:?}, {without:?}"
    );
}

impl Measured {
    fn in_words(&self) -> String {
        let after: Vec<_> = self.after_reloads.iter().map(|it| it / MIB).collect();
        format!(
            "signer {}, front end {}, after reloads {after:?}, {:?} for a request with a handshake",
            self.signer / MIB,
            self.front_end / MIB,
            self.handshake
        )
    }
}

/// Fails where memory is more by `growth` after a reload than before all of them, and stays so.
fn measured(bank: &mut Bank, lines: &str, growth: u64) -> Measured {
    bank.configure(|settings| settings.trust_lines = lines.to_owned());
    let apart = tempfile::tempdir().unwrap();
    let ledger = format!(
        "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
        apart.path().display()
    );
    let ports = Proxy::configure(bank, "warm_connections = 0", &ledger);
    let proxy = Proxy::start(bank, ports);
    let front_end = || proportional_memory(proxy.front_end().unwrap());
    // Both services have had a connection, and what was read at the start is freed.
    let serve = || {
        for path in ["/cm/consents/1", "/hh/hello-mtls"] {
            assert_eq!(proxy.get(path).0, 200);
        }
    };
    serve();
    let settled = |limit: u64, patience: u64| {
        let mut least = u64::MAX;
        let is_reached = || {
            least = least.min(front_end());
            (least <= limit).then_some(())
        };
        found_within(Duration::from_secs(patience), is_reached);
        least
    };
    let signer = proportional_memory(signers(bank)[0]);
    let at_start = settled(0, 2);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
    }
    let handshake = began.elapsed() / 20;
    let mut after_reloads = Vec::new();
    for times in 1..=RELOADS {
        proxy.signal("HUP");
        let good = [("result", "good")];
        let reloads = || proxy.metric("hsm_mtls_proxy_reloads_total", &good);
        let is_done = || (reloads() >= times as f64 && signers(bank).len() == 1).then_some(());
        assert_eq!(found_within(PATIENCE, is_done), Some(()), "{}", proxy.log());
        serve();
        after_reloads.push(settled(at_start + growth, 10));
    }
    let limit = at_start + growth;
    assert!(
        after_reloads.iter().all(|after| *after <= limit),
        "{at_start}: {after_reloads:?}"
    );
    Measured {
        signer,
        front_end: at_start,
        after_reloads,
        handshake,
    }
}
