//! Each manipulation of a long chain is found, and the first record that does not fit is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::ledger::{Fsync, LedgerConfig};
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::ledger::hash_chain::ChainHead;
use hsm_mtls::internal::ledger::verify::{VerifyError, verify};
use hsm_mtls::internal::ledger::{
    Attempt, Entry, FileLedger, Ledger, Outcome, OutcomeResult, Process,
};

/// One `begin`, and an attempt and an outcome for each signature.
const SIGNATURES: u64 = 100_000;

fn write(file: PathBuf, signatures: u64) -> ChainHead {
    let ledger = FileLedger::open(&LedgerConfig {
        file,
        fsync: Fsync::Interval,
        fsync_interval: Duration::from_secs(1),
        rotate_at_mib: 1 << 10,
        head: None,
        head_interval: Duration::from_secs(60),
    })
    .unwrap();
    for _ in 0..signatures {
        let of = ledger
            .record(&Entry::Attempt(Attempt {
                purpose: "tls13-client-auth",
                key: "pkcs11:token=lfi;object=c3;type=private",
                spki: Fingerprint([7; 32]),
                scheme: "ecdsa_secp256r1_sha256",
                message: Fingerprint([9; 32]),
                peer: Some("cm.mybank.preprod.apihub.openfinance.ae:443"),
                interaction_id: Some("c4a2f1de-0a1b-4b8e-8f63-2c9e1b7d4a55"),
                jti: None,
                audience: None,
                expires: None,
                process: Process::current(),
            }))
            .unwrap();
        let outcome = Outcome {
            of,
            result: OutcomeResult::Good,
            class: None,
            ckr: None,
            function: None,
            spki: None,
            duration: Duration::from_millis(3),
        };
        ledger.record(&Entry::Outcome(outcome)).unwrap();
    }
    ledger.head().unwrap()
}

#[test]
fn whatever_is_done_to_a_long_chain_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let head = write(path.clone(), SIGNATURES);
    let other = folder.path().join("other.jsonl");
    write(other.clone(), 100_010 / 10);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    assert_eq!(lines.len() as u64, 1 + 2 * SIGNATURES);
    let started = Instant::now();
    verify(&path, Some(&head)).unwrap();
    println!(
        "{} records verified in {:?}",
        lines.len(),
        started.elapsed()
    );
    // At index 9,999 stands record 10,000.
    let at = 9_999;
    let others = fs::read_to_string(&other).unwrap();
    let copied: Vec<&str> = others.lines().collect();
    let edited = lines[at].replace("cm.mybank", "cm.theirs");
    assert_eq!(
        changed(&path, &lines, |l| l[at] = &edited),
        Some(10_001),
        "edited: the next lacks its hash"
    );
    assert_eq!(
        changed(&path, &lines, |l| {
            l.remove(at);
        }),
        Some(10_000),
        "removed"
    );
    assert_eq!(
        changed(&path, &lines, |l| l.swap(at, at + 1)),
        Some(10_000),
        "reordered"
    );
    assert_eq!(
        changed(&path, &lines, |l| l.insert(at, lines[at - 2])),
        Some(10_000),
        "inserted"
    );
    assert_eq!(
        changed(&path, &lines, |l| l[at] = copied[at]),
        Some(10_000),
        "copied in"
    );
    assert_eq!(
        changed(&path, &lines, |l| l[at] = "{}"),
        Some(10_000),
        "blanked"
    );
    assert_eq!(
        changed(&path, &lines, |l| l[at] = ""),
        Some(10_000),
        "emptied"
    );
    // Below a head that was exported, the end cannot go unseen; without one it can.
    let cut = &lines[..lines.len() - 5];
    assert_eq!(flaw(&path, cut, None), None);
    assert_eq!(flaw(&path, cut, Some(&head)), Some(cut.len() as u64 + 1));
    // A chain that was written anew, of the same length.
    fs::remove_file(&path).unwrap();
    write(path.clone(), SIGNATURES);
    assert!(matches!(
        verify(&path, Some(&head)),
        Err(VerifyError::AnotherChain { sequence, .. }) if sequence == head.sequence
    ));
}

fn changed<'a>(
    path: &Path,
    lines: &[&'a str],
    change: impl FnOnce(&mut Vec<&'a str>),
) -> Option<u64> {
    let mut changed = lines.to_vec();
    change(&mut changed);
    flaw(path, &changed, None)
}

fn flaw(path: &Path, lines: &[&str], head: Option<&ChainHead>) -> Option<u64> {
    fs::write(path, lines.join("\n") + "\n").unwrap();
    verify(path, head)
        .err()
        .map(|flaw| flaw.sequence().unwrap())
}
