//! The library's own questions: what the engine adds to a signature, and what a new connection costs beside other clients.

use std::path::Path;

use crate::peers::{self, Peer};
use crate::results::{HandshakeRow, Percentiles, Rate, RecordedRow, SignatureRow};
use crate::role::{Load, Measured, Recorded, Role, Signatures, Way, play};
use crate::setup::Setup;

pub const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// Each cell is measured so often, in turn with the others of its row.
pub const ROUNDS: usize = 3;

pub const PRODUCT: &str = "hsm-mtls";
pub const IN_MEMORY: &str = "hsm-mtls, key in memory";
pub const RAW: &str = "rustls + raw C_Sign";
pub const NGINX: &str = "nginx + engine_pkcs11";
pub const PROVIDER: &str = "nginx + pkcs11-provider";
pub const STUNNEL: &str = "stunnel + engine_pkcs11";

impl Setup {
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
            on_other_thread: Percentiles::of(found.on_other_thread),
            verification: Percentiles::of(found.verification),
            engine: Percentiles::of(found.engine),
            in_signer_process: Percentiles::of(found.in_signer_process),
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
        let nginx = peers::nginx_with_engine(&self.bank, &self.hubs[0]);
        let stunnel = peers::stunnel_with_engine(&self.bank, &self.hubs[0]);
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

    /// A new connection for each request, by a process of its own. `further` are variables for the module.
    pub fn connect(&self, way: Way, load: Load, further: &[(&str, &Path)]) -> Measured {
        let role = Role::Connect {
            config: self.bank.config_path(),
            way,
            load,
        };
        let conf = self.bank.token.conf();
        let environment = [&[("SOFTHSM2_CONF", conf.as_path())], further].concat();
        play(&role, &environment)
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
