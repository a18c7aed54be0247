//! Valid certificates and revocation lists are accepted, and what cannot be checked is not called invalid: compared
//! with what the `openssl` command makes and accepts.

mod algorithms;
mod limits;
mod names;

use std::time::SystemTime;

use crate::common::openssl::OpenSsl;
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::read_file;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::tls;
use hsm_mtls::internal::tls::trust::{TrustStore, verify_client_chain};
use rustls::pki_types::ServerName;

const CONFIG: &str = r#"
environment = "preprod"
lfi_code = "mybank"
[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri = "pkcs11:token=lfi"
pin = { file = "/nowhere/pin" }
[c3]
key = "pkcs11:object=c3;type=private"
certificate = "chain.pem"
[trust]
mode = "trust-framework"
anchors = "anchors.pem"
"#;

/// What is said of a chain as ours, and as the hub's with this list or none. `Err`: refused, with these words.
struct Verdicts {
    ours: Result<(), String>,
    hub: Result<(), String>,
}

fn judge(openssl: &OpenSsl, leaf: &str, issuing: &str, root: &str, crl: Option<&str>) -> Verdicts {
    let pem = |name: &str| openssl.read(&format!("{name}.pem"));
    openssl.write("chain.pem", pem(leaf) + &pem(issuing));
    openssl.write("anchors.pem", pem(root));
    let crls = crl.map_or(String::new(), |crl| format!("crls = [\"{crl}.crl\"]\n"));
    let path = openssl.write("bank.toml", format!("{CONFIG}{crls}"));
    let config = Config::load(&path).unwrap();
    let provider = tls::provider(&config.tls);
    let anchors = Anchors::load(&config).unwrap();
    let given = read_file(&openssl.path("chain.pem")).unwrap();
    let ours = || -> Result<(), String> {
        let chain = Chain::complete(&given, &anchors, config.environment)
            .map_err(|error| error.to_string())?;
        chain
            .leaf()
            .check_client(SystemTime::now())
            .map_err(|error| error.to_string())?;
        verify_client_chain(&chain, &anchors, &provider).map_err(|error| error.to_string())
    };
    let hub = || -> Result<(), String> {
        let store = TrustStore::load(&config.trust, &anchors, &provider)
            .map_err(|error| error.to_string())?;
        let chain: Vec<_> = given.iter().map(|it| it.der().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let satisfies = store.evaluate(&chain, &name).unwrap();
        satisfies.trust_framework.map_err(|error| error.to_string())
    };
    Verdicts {
        ours: ours(),
        hub: hub(),
    }
}

const ROOT: &str = "/C=AE/O=Nebras/CN=Root";
const ISSUING: &str = "/C=AE/O=Nebras/CN=Issuing";
const LEAF: &str = "/C=AE/O=Bank/CN=localhost";

const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
