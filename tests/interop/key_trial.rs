//! What a token's key is tried with: made in the token, certified, and used for a connection to each server.

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::common::bank::{Bank, Run};
use crate::peer::{PEERS, Peer, Served, Server, TlsVersion, VERSIONS};
use crate::token_under_test::TokenUnderTest;

pub const KEY_TYPES: [&str; 7] = [
    "rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519",
];

/// What came of it, as it also goes from one process to another.
#[derive(Deserialize, Serialize)]
pub struct TokenTrial {
    pub name: String,
    pub version: String,
    pub keys: Vec<KeyTrial>,
}

#[derive(Deserialize, Serialize)]
pub struct KeyTrial {
    pub key_type: String,
    /// Why there is no such key.
    pub refused: Option<Failure>,
    pub handshakes: Vec<HandshakeTrial>,
}

#[derive(Deserialize, Serialize)]
pub struct HandshakeTrial {
    pub peer: Peer,
    pub version: TlsVersion,
    /// With what the client signed, where the server tells it.
    pub scheme: Option<String>,
    pub failure: Option<Failure>,
}

#[derive(Deserialize, Serialize)]
pub struct Failure {
    /// What the command said.
    pub error: String,
    /// Why that is no fault; a number in the list of known limits.
    pub limit: Option<usize>,
}

impl Failure {
    fn of(error: String) -> Self {
        Self { error, limit: None }
    }

    fn of_run(run: &Run) -> Self {
        let error = run.stderr.lines().find(|line| line.starts_with("error: "));
        let said = error.map_or_else(|| format!("{}{}", run.stdout, run.stderr), str::to_owned);
        Self::of(format!("exit {}: {said}", run.code))
    }
}

impl TokenTrial {
    pub fn of(mut token: TokenUnderTest, key_types: &[&str]) -> Self {
        let served = Served::of(&token.bank.framework);
        let all = PEERS.into_iter();
        let all = all.flat_map(|peer| VERSIONS.map(|version| (peer, version)));
        let servers: Vec<_> = all
            .map(|(peer, version)| (peer, version, Server::start(peer, version, &served)))
            .collect();
        let mut tried = |key_type: &&str| KeyTrial::of(&mut token.bank, key_type, &servers);
        let keys = key_types.iter().map(&mut tried).collect();
        Self {
            name: token.name.to_owned(),
            version: token.version.clone(),
            keys,
        }
    }

    /// All that did not work, with what it is of.
    pub fn failures(&self) -> impl Iterator<Item = (String, &Failure)> {
        self.keys.iter().flat_map(|key| {
            let name = format!("{} {}", self.name, key.key_type);
            let refused = key.refused.iter().map({
                let name = name.clone();
                move |failure| (name.clone(), failure)
            });
            let handshakes = key.handshakes.iter().filter_map(move |handshake| {
                let place = format!(
                    "{name} {} {}",
                    handshake.version.name(),
                    handshake.peer.name()
                );
                Some((place, handshake.failure.as_ref()?))
            });
            refused.chain(handshakes)
        })
    }
}

impl TokenTrial {
    /// The same failures, in the same order.
    pub fn failures_mut(&mut self) -> impl Iterator<Item = &mut Failure> {
        self.keys.iter_mut().flat_map(|key| {
            let handshakes = key.handshakes.iter_mut();
            let of_handshakes = handshakes.filter_map(|handshake| handshake.failure.as_mut());
            key.refused.iter_mut().chain(of_handshakes)
        })
    }
}

impl KeyTrial {
    fn of(bank: &mut Bank, key_type: &str, servers: &[(Peer, TlsVersion, Server)]) -> Self {
        bank.configure(|settings| {
            settings.key = format!("pkcs11:object={key_type};type=private");
            settings.certificate = format!("{key_type}.pem");
        });
        let mut trial = Self {
            key_type: key_type.to_owned(),
            refused: None,
            handshakes: Vec::new(),
        };
        let generated = bank.run(&["key", "generate", "--type", key_type]);
        let request = bank.run(&["csr"]);
        if let Some(refused) = [&generated, &request].into_iter().find(|run| run.code != 0) {
            trial.refused = Some(Failure::of_run(refused));
            return trial;
        }
        let leaf = bank.framework.issue_client(&request.stdout);
        let chain = bank.write(
            "issued.pem",
            &(leaf.clone() + &bank.framework.issuing_pem()),
        );
        bank.run(&["cert", "install", chain.to_str().expect("a plain path")])
            .expect(0);
        let certificate = CertificateDer::from_pem_slice(leaf.as_bytes()).expect("a certificate");
        for (peer, version, server) in servers {
            bank.hub_at(server.port());
            let run = bank.run(&["request", "GET", "cm:/hello-mtls"]);
            let failure = match run.code {
                0 => {
                    let seen = server.saw(*version, &certificate, &run.stdout);
                    seen.err().map(Failure::of)
                }
                _ => Some(Failure::of_run(&run)),
            };
            trial.handshakes.push(HandshakeTrial {
                peer: *peer,
                version: *version,
                scheme: server.signature_scheme().map(scheme_name),
                failure,
            });
        }
        trial
    }
}

/// As the registry of TLS has it (RFC 8446, section 4.2.3).
fn scheme_name(scheme: SignatureScheme) -> String {
    match scheme {
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256".to_owned(),
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256".to_owned(),
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384".to_owned(),
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
