//! `verify` against nginx, a server that is not ours, which requires the certificate.

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions, Protocols};

#[test]
fn nginx_is_established_with_tls_1_2_and_1_3_and_each_kind_of_key() {
    for key_type in ["rsa-2048", "p-256", "p-384"] {
        let mut bank = Bank::new();
        bank.certify(key_type);
        for (protocols, name) in [(Protocols::Tls12, "TLSv1.2"), (Protocols::Tls13, "TLSv1.3")] {
            let mut options = NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
            options.protocols = protocols;
            let nginx = Nginx::start(&options);
            bank.hub_at(nginx.port());
            let report = bank.run(&["verify", "--json"]).expect(0).json();
            assert_eq!(report["established"], true, "{key_type} {name}: {report:#}");
            for service in report["services"].as_array().unwrap() {
                let compared = service["steps"].as_array().unwrap().last().unwrap().clone();
                assert_eq!(compared["name"], "presented certificate");
                assert_eq!(compared["outcome"], "good", "{compared}");
            }
            for access in nginx.wait_for_accesses(2) {
                assert_eq!(
                    (access.verify.as_str(), access.protocol.as_str()),
                    ("SUCCESS", name)
                );
            }
        }
    }
}

#[test]
fn nginx_that_does_not_ask_gets_no_request() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    for protocols in [Protocols::Tls12, Protocols::Tls13] {
        let mut options = NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
        options.protocols = protocols;
        options.verify_client = false;
        let nginx = Nginx::start(&options);
        bank.hub_at(nginx.port());
        let run = bank.run(&["verify"]).expect(5);
        assert!(
            run.stdout
                .contains("the server did not ask for our certificate"),
            "{run:?}"
        );
        assert!(nginx.accesses().is_empty(), "{:?}", nginx.accesses());
    }
}
