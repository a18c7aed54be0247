//! A PKCS#11 call that never returns: its caller gets an error in time, and the process that it hangs in is ended.
//! The test runs in a process of its own, because it counts threads and descriptors of its process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::child_test;
use crate::common::poll::until;
use crate::common::procfs::{self, threads};
use crate::common::signer_process::{self, launch};
use hsm_mtls::internal::engine::{EngineError, Purpose, challenge};
use hsm_mtls::internal::signer;

/// Set in the process that runs this test alone.
const ALONE: &str = "HSM_MTLS_TEST_ALONE";

#[test]
fn a_call_that_hangs_for_ever_is_ended_and_leaves_nothing_behind() {
    if std::env::var_os(ALONE).is_none() {
        let test = a_call_that_hangs_for_ever_is_ended_and_leaves_nothing_behind;
        let output = child_test::command(test).env(ALONE, "1").output().unwrap();
        child_test::passed("the test of a call that hangs", &output);
        return;
    }
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    bank.configure(|settings| settings.token_lines = "timeout = \"400ms\"".to_owned());
    let config = signer_process::config(&bank);
    let identity = signer::identity(&config, launch(&bank, Some(&chaos))).unwrap();
    let key = Arc::clone(identity.signer());
    let me = std::process::id();
    let mut before = None;
    for round in 0..10 {
        // The first C_Sign from now on does not come back.
        chaos.plan("hang C_Sign 1");
        let asked = Instant::now();
        let hung = challenge(key.as_ref(), Purpose::Proof).expect_err("it hangs");
        let took = asked.elapsed();
        assert!(matches!(hung, EngineError::Deadline(_)), "{hung}");
        // On a busy machine a thread wakes up late.
        assert!(took <= Duration::from_millis(400 + 1000), "{took:?}");
        // The others go on meanwhile, in the same process.
        let served = challenge(key.as_ref(), Purpose::Proof);
        assert!(served.is_ok(), "round {round}: {served:?}");
        let hanging = signer_process::signers(&bank);
        until("a new signer serves", || {
            let signers = signer_process::signers(&bank);
            signers.len() == 1
                && signers != hanging
                && challenge(key.as_ref(), Purpose::Proof).is_ok()
        });
        let now = (
            threads(me),
            procfs::descriptors(me),
            signer_process::signers(&bank).len(),
        );
        let first = *before.get_or_insert(now);
        assert!(
            now.0 <= first.0 + 2 && now.1 <= first.1,
            "round {round}: {first:?}, then {now:?}"
        );
        assert_eq!(now.2, 1);
    }
    drop((key, identity));
    until("no signer is left", || {
        signer_process::signers(&bank).is_empty()
    });
}
