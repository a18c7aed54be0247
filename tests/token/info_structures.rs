//! Arbitrary bytes in CK_INFO, CK_SLOT_INFO and CK_TOKEN_INFO, at the module: no field that identifies and decides nothing
//! refuses a token.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};

#[test]
fn a_token_with_arbitrary_information_does_everything() {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    for seed in 0..20 {
        chaos.plan(&format!("scramble-info {seed}"));
        let list = chaos.run(&bank, &["--json", "token", "list"]).expect(0);
        let list = list.json();
        assert_eq!(
            list["tokens"].as_array().unwrap().len(),
            1,
            "{seed}: {list:#}"
        );
        chaos.run(&bank, &["token", "check", "-n", "1"]).expect(0);
        chaos.run(&bank, &["csr"]).expect(0);
        if seed < 3 {
            chaos.run(&bank, &["verify"]).expect(0);
        }
    }
}
