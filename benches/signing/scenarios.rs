//! The three questions: what the engine adds to a signature, what a new connection costs beside other
//! clients, and what a slow token makes of it.

use std::path::Path;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::softhsm::SoftHsm;
use crate::common::trust_framework::Kind;
use crate::in_memory;
use crate::results::{HandshakeRow, Percentiles, Rate, RecordedRow, SignatureRow, SlowRow};
use crate::role::{Load, Measured, Recorded, Role, Signatures, Way, play};
use crate::servers::{self, Peer, Server};

/// Key types as the command calls them, and as the tables do.
pub const KEYS: [(&str, &str); 2] = [("rsa-2048", "RSA-2048"), ("p-256", "P-256")];
pub const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// Each cell is measured so often, in turn with the others of its row.
pub const ROUNDS: usize = 3;

pub const PRODUCT: &str = "hsm-mtls";
pub const IN_MEMORY: &str = "hsm-mtls, key in memory";
pub const RAW: &str = "rustls + raw C_Sign";
pub const NGINX: &str = "nginx + engine_pkcs11";
pub const STUNNEL: &str = "stunnel + engine_pkcs11";

/// A bank with a certified key, and how long each cell of a table takes.
pub struct Place {
    pub bank: Bank,
    pub hub: Server,
    pub key: &'static str,
    pub seconds: f64,
}

impl Place {
    pub fn new(key: (&'static str, &'static str), seconds: f64) -> Self {
        // A PIN that every peer's configuration can hold.
        let token = SoftHsm::with_pin("lfi", "bench-0001");
        let mut bank = Bank::with_token(Kind::Sandbox, token);
        // As many signatures as there can be are asked of the signer process.
        bank.configure(|settings| {
            settings.sections = "[signer]\nper_second = 1000000\n".to_owned()
        });
        bank.certify(key.0);
        let hub = servers::hub(&bank);
        bank.hub_at(hub.port);
        in_memory::prepare(&bank, key.0.starts_with("rsa"));
        Self {
            bank,
            hub,
            key: key.1,
            seconds,
        }
    }

    pub fn signatures(&self) -> SignatureRow {
        eprintln!("{}: signatures", self.key);
        let found: Signatures = play(
            &Role::Sign {
                config: self.bank.config_path(),
                seconds: 4.0 * self.seconds,
            },
            &[("SOFTHSM2_CONF", &self.bank.token.conf())],
        );
        SignatureRow {
            key: self.key,
            raw: Percentiles::of(found.raw),
            elsewhere: Percentiles::of(found.elsewhere),
            verification: Percentiles::of(found.verification),
            engine: Percentiles::of(found.engine),
            walled: Percentiles::of(found.walled),
        }
    }

    pub fn recorded(&self) -> RecordedRow {
        eprintln!("{}: with a ledger", self.key);
        let found: Recorded = play(
            &Role::SignRecorded {
                config: self.bank.config_path(),
                seconds: 4.0 * self.seconds,
            },
            &[("SOFTHSM2_CONF", &self.bank.token.conf())],
        );
        RecordedRow {
            key: self.key,
            without: Percentiles::of(found.without),
            interval: Percentiles::of(found.interval),
            each: Percentiles::of(found.each),
        }
    }

    pub fn handshakes(&self) -> Vec<HandshakeRow> {
        let nginx = servers::nginx_with_engine(&self.bank, &self.hub);
        let stunnel = servers::stunnel_with_engine(&self.bank, &self.hub);
        let mut rows = Vec::new();
        for connections in CONNECTIONS {
            eprintln!("{}: {connections} connections", self.key);
            let load = Load {
                connections,
                seconds: self.seconds / ROUNDS as f64,
            };
            let own = |way| Ok(self.connect(way, load, &[]));
            let mut clients: [(&'static str, Result<Measured, String>); 5] =
                [PRODUCT, IN_MEMORY, RAW, NGINX, STUNNEL]
                    .map(|name| (name, Ok(Measured::default())));
            for _ in 0..ROUNDS {
                for (name, found) in &mut clients {
                    let round = match *name {
                        PRODUCT => own(Way::Product),
                        IN_MEMORY => own(Way::InMemory),
                        RAW => own(Way::Raw),
                        NGINX => through(&nginx, true, load),
                        _ => through(&stunnel, false, load),
                    };
                    match (found.as_mut(), round) {
                        (Ok(found), Ok(round)) => found.add(round),
                        (_, Err(why)) => *found = Err(why),
                        (Err(_), Ok(_)) => {}
                    }
                }
            }
            rows.extend(clients.map(|(client, found)| HandshakeRow {
                key: self.key,
                connections,
                client,
                missing: found.as_ref().err().cloned(),
                measured: found.ok().map(Rate::of),
            }));
        }
        rows
    }

    fn connect(&self, way: Way, load: Load, further: &[(&str, &Path)]) -> Measured {
        let role = Role::Connect {
            config: self.bank.config_path(),
            way,
            load,
        };
        let conf = self.bank.token.conf();
        let environment = [&[("SOFTHSM2_CONF", conf.as_path())], further].concat();
        play(&role, &environment)
    }

    /// A token that takes its time. Ends with the module in between.
    pub fn slow_tokens(mut self) -> Vec<SlowRow> {
        const SESSIONS: usize = 16;
        let chaos = Chaos::between(&mut self.bank, "");
        self.bank
            .configure(|settings| settings.token_lines = format!("sessions = {SESSIONS}\n"));
        let environment = chaos.environment();
        let environment = environment
            .iter()
            .map(|(name, path)| (*name, path.as_path()));
        let environment: Vec<_> = environment.collect();
        // A line in a file for each call would be the load that is measured.
        let unwritten: Vec<_> = environment
            .iter()
            .copied()
            .filter(|(name, _)| *name != "CHAOS_TOKEN_LOG")
            .collect();
        let load = Load {
            connections: 32,
            seconds: 1.5 * self.seconds,
        };
        let mut rows = Vec::new();
        for (token, plan, millis) in [
            // What the machine can do.
            ("C_Sign is not delayed", "", None),
            ("C_Sign takes 25 ms", "delay C_Sign 25ms", Some(25.0)),
            ("C_Sign takes 10 ms", "delay C_Sign 10ms", Some(10.0)),
        ] {
            chaos.plan(plan);
            for (client, way) in [(PRODUCT, Way::Product), (RAW, Way::Raw)] {
                eprintln!("{}: {token}, {client}", self.key);
                rows.push(SlowRow {
                    token,
                    client,
                    limit_per_second: millis.map(|millis| SESSIONS as f64 * 1000.0 / millis),
                    rate: Some(Rate::of(self.connect(way, load, &unwritten))),
                    signature: None,
                    calls_per_signature: None,
                });
            }
        }
        rows.push(self.each_call_slow(&chaos, &environment));
        rows
    }

    fn each_call_slow(&self, chaos: &Chaos, environment: &[(&str, &Path)]) -> SlowRow {
        eprintln!("{}: each call takes 3 ms", self.key);
        chaos.plan("delay all 3ms");
        chaos.forget_calls();
        let role = Role::SignSlowly {
            config: self.bank.config_path(),
            seconds: self.seconds,
        };
        let conf = self.bank.token.conf();
        let environment = [&[("SOFTHSM2_CONF", conf.as_path())], environment].concat();
        let found: Signatures = play(&role, &environment);
        let calls = chaos.calls("C_SignInit") + chaos.calls("C_Sign");
        // Identity::open signs once, to prove the pair.
        let signatures = found.engine.len() + 1;
        SlowRow {
            token: "each call takes 3 ms",
            client: PRODUCT,
            limit_per_second: None,
            rate: None,
            signature: Some(Percentiles::of(found.engine)),
            calls_per_signature: Some(calls as f64 / signatures as f64),
        }
    }
}

fn through(peer: &Peer, keep_alive: bool, load: Load) -> Result<Measured, String> {
    let server = peer.as_ref().map_err(String::clone)?;
    let role = Role::ThroughProxy {
        port: server.port,
        path: "/".to_owned(),
        keep_alive,
        processes: server.processes(),
        load,
    };
    let measured: Measured = play(&role, &[]);
    match measured.micros.is_empty() {
        true => Err(server.failed()),
        false => Ok(measured),
    }
}
