//! The published key set as a part of `verify`: judged where it can be had, and else a note.

use serde_json::json;

use super::jwks_check::{ours, publish, with_keystore};
use crate::common::hub::{Hub, HubOptions};
use crate::common::published_keys::{certificate, key_set, kid, outcome};

#[test]
fn verify_judges_the_published_key_set_where_it_can_be_had() {
    let (mut bank, keystore) = with_keystore();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let roots = bank.path("anchors.pem");
    let verify = |code| {
        let run = bank.run_with(&["verify", "--json"], &[("SSL_CERT_FILE", &roots)]);
        run.expect(code).json()
    };
    publish(&keystore, &key_set(&[&ours(&bank)]));
    let report = verify(0);
    assert_eq!(report["sig4"]["kid"], kid(&certificate(&bank)));
    for step in ["fetch", "kid", "key", "x5c", "published"] {
        let outcome = outcome(&report["sig4"]["key_set"], step);
        assert_eq!(outcome, "good", "{step}: {report:#}");
    }
    let mut of_another_key = ours(&bank);
    of_another_key["e"] = json!("AQAD");
    publish(&keystore, &key_set(&[&of_another_key]));
    let report = verify(1);
    assert_eq!(
        outcome(&report["sig4"]["key_set"], "key"),
        "bad",
        "{report:#}"
    );
    assert_eq!(report["established"], true, "{report:#}");
    drop(keystore);
    let report = verify(0);
    assert_eq!(
        outcome(&report["sig4"]["key_set"], "fetch"),
        "note",
        "{report:#}"
    );
}
