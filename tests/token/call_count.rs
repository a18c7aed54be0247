//! Which functions of the module one `verify` calls, and how often, as OpenSC's pkcs11-spy logs them.

use std::fs;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::pkcs11_spy;
use crate::common::softhsm::MODULE;

#[test]
fn one_login_and_two_calls_per_signature() {
    for key_type in ["rsa-2048", "p-256"] {
        let mut bank = Bank::new();
        let hub =
            Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
        bank.hub_at(hub.port());
        bank.certify(key_type);
        bank.configure(|settings| settings.module = pkcs11_spy::module());
        let log = bank.path("spy.log");
        let environment = [
            ("PKCS11SPY", MODULE.as_ref()),
            ("PKCS11SPY_OUTPUT", log.as_path()),
        ];
        let report = bank
            .run_with(&["verify", "--json"], &environment)
            .expect(0)
            .json();

        let log = fs::read_to_string(log).unwrap();
        let calls = pkcs11_spy::calls(&log);
        let count = |name: &str| calls.iter().filter(|call| **call == name).count();
        assert_eq!(count("C_Initialize"), 1, "{calls:?}");
        assert_eq!(count("C_Login"), 1, "{calls:?}");
        let proofs = report["certificate"]["proofs"].as_u64().unwrap() as usize;
        let connections = hub.connections().len();
        assert_eq!(connections, 2);
        assert_eq!(count("C_SignInit"), connections + proofs, "{calls:?}");
        assert_eq!(count("C_Sign"), connections + proofs, "{calls:?}");
        for (at, call) in calls.iter().enumerate() {
            if *call == "C_SignInit" {
                assert_eq!(calls[at + 1], "C_Sign", "{calls:?}");
            }
        }
        for component in pkcs11_spy::PRIVATE_COMPONENTS
            .into_iter()
            .chain(["CKA_VALUE"])
        {
            let asked = log
                .lines()
                .any(|line| line.split_whitespace().next() == Some(component));
            assert!(!asked, "{component} was asked for");
        }
        // Attributes do show in this log, so the absence above means something.
        assert!(log.contains("CKA_ALWAYS_AUTHENTICATE"), "{log}");
        assert!(!log.contains("C_WrapKey"));
    }
}
