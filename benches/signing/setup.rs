//! What a measurement needs: a bank with a certified key in a token, two hubs, and how long each cell of a table takes.

use crate::common::bank::Bank;
use crate::common::softhsm::SoftHsm;
use crate::common::trust_framework::Kind;
use crate::in_memory;
use crate::servers::{self, HubKey, Server};

/// Key types as the command calls them, and as the tables do.
pub const KEYS: [(&str, &str); 2] = [("rsa-2048", "RSA-2048"), ("p-256", "P-256")];

/// Keys of the hubs, in the order of the services that lie there.
pub const HUB_KEYS: [HubKey; 2] = [HubKey::P256, HubKey::Rsa2048];

/// A bank with a certified key. Its first service (cm) is a hub with a P-256 key, its second (hh) one with an RSA key.
pub struct Setup {
    pub bank: Bank,
    pub hubs: [Server; 2],
    pub key: &'static str,
    /// How long one cell of a table is measured.
    pub seconds: f64,
}

impl Setup {
    pub fn new(key: (&'static str, &'static str), seconds: f64) -> Self {
        // A PIN that every peer's configuration can hold.
        let token = SoftHsm::with_pin("lfi", "bench-0001");
        let mut bank = Bank::with_token(Kind::Sandbox, token);
        bank.certify(key.0);
        let hubs = HUB_KEYS.map(|key| servers::hub(&bank, key, false));
        in_memory::prepare(&bank, key.0.starts_with("rsa"));
        let [first, second] = [hubs[0].port, hubs[1].port];
        services_at(&mut bank, first, second);
        let mut setup = Self {
            bank,
            hubs,
            key: key.1,
            seconds,
        };
        setup.without_proxy();
        setup
    }

    /// The configuration of a client without a proxy.
    pub fn without_proxy(&mut self) {
        // As many signatures as there can be are asked of the signer process.
        self.bank.configure(|settings| {
            settings.sections = "[signer]\nper_second = 1000000\n".to_owned()
        });
    }

    /// Puts the first service to another port.
    pub fn first_service_at(&mut self, port: u16) {
        let second = self.hubs[1].port;
        services_at(&mut self.bank, port, second);
    }
}

/// Both by address: no name is resolved for a connection, as nginx resolves none.
fn services_at(bank: &mut Bank, first: u16, second: u16) {
    bank.configure(|settings| {
        settings.consent_manager = format!("https://127.0.0.1:{first}");
        settings.headless_heimdall = format!("https://127.0.0.1:{second}");
    });
}
