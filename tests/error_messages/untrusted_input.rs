//! Property tests of every parser: any input from a file, a token or a peer is accepted or refused, and never a panic.
//! Each input is valid first and then damaged, because random bytes do not get past the first check of a parser.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use crate::common::der_mutation::{edited, edits};
use crate::common::trust_framework::{Kind, TrustFramework};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::name::{Comparison, DistinguishedName};
use hsm_mtls::internal::certificate::{Certificate, read_pem};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::tls;
use hsm_mtls::internal::tls::trust::{TrustStore, verify_client_chain};
use hsm_mtls_cli::verify::hello_mtls_response::HelloMtlsResponse;
use proptest::prelude::*;
use proptest::sample::Index;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::Duration;

const PLACE: &str = "the test";

/// Everything valid, made once.
struct Valid {
    folder: TempDir,
    config: Config,
    leaf: Vec<u8>,
    crl: Vec<u8>,
    framework: TrustFramework,
}

static VALID: LazyLock<Valid> = LazyLock::new(|| {
    let framework = TrustFramework::new(Kind::Sandbox);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut request = CertificateParams::default();
    request.distinguished_name.push(DnType::CountryName, "AE");
    request
        .distinguished_name
        .push(DnType::OrganizationName, "Bank, \"A\" & Söhne");
    request.distinguished_name.push(DnType::CommonName, "c3");
    let csr = request.serialize_request(&key).unwrap().pem().unwrap();
    let der = |pem: &str| der::pem::decode_vec(pem.as_bytes()).unwrap().1;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("anchors.pem"), framework.bundle_pem()).unwrap();
    let text = CONFIG.replace("c3.pem", "leaf.pem");
    Valid {
        config: Config::parse(&text, &folder.path().join("bank.toml")).unwrap(),
        folder,
        leaf: der(&framework.issue_client(&csr)),
        crl: der(&framework.crl(&[], Duration::days(7))),
        framework,
    }
});

const CONFIG: &str = r#"environment = "preprod"
lfi_code = "mybank"
[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
module_sha256 = "0101010101010101010101010101010101010101010101010101010101010101"
uri = "pkcs11:token=lfi;serial=01"
pin = { file = "pin" }
sessions = 8
timeout = "5s"
env = { SOFTHSM2_CONF = "{config_dir}/softhsm2.conf" }
login = "auto"
[c3]
key = "pkcs11:object=c3;type=private"
certificate = "c3.pem"
[c3.subject]
organization = "My Bank P.J.S.C."
organizational_unit = "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10"
common_name = "5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55"
[trust]
mode = "both"
anchors = "anchors.pem"
pins = []
crls = []
[hub]
consent_manager = "https://localhost:8443"
connect_timeout = "10s"
[tls]
groups = ["x25519", "secp256r1"]
"#;

/// What could stand behind any `=`.
fn toml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|on| on.to_string()),
        ".{0,30}".prop_map(|text| json!(text).to_string()),
        "[0-9]{0,25}(ms|s|m)".prop_map(|text| json!(text).to_string()),
        "pkcs11:[a-z-]{0,9}=[%0-9a-f]{0,9}(;id=%[0-9a-g]{2})?"
            .prop_map(|text| json!(text).to_string()),
        "https?://[a-z.\\[\\]:@0-9]{0,20}/?".prop_map(|text| json!(text).to_string()),
        Just("{ command = [] }".to_owned()),
        Just("{ file = '', env = '' }".to_owned()),
        Just("[[]]".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
    ]
}

proptest! {
    #[test]
    fn a_damaged_configuration(
        values in proptest::collection::vec((any::<Index>(), toml_value()), 0..3),
        lines in proptest::collection::vec((any::<Index>(), any::<Index>()), 0..3),
    ) {
        let mut text: Vec<String> = CONFIG.lines().map(str::to_owned).collect();
        for (at, value) in values {
            let line = at.get_mut(&mut text);
            if let Some((name, _)) = line.split_once('=') {
                *line = format!("{name}= {value}");
            }
        }
        for (from, to) in lines {
            // Swapped, or lost where both are the same.
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            if from == to {
                text.remove(from);
            } else {
                text.swap(from, to);
            }
        }
        let parsed = Config::parse(&text.join("\n"), Path::new("/etc/bank/bank.toml"));
        if let Err(error) = parsed {
            prop_assert!(!error.to_string().is_empty() && !error.hint().is_empty());
        }
    }

    #[test]
    fn a_pkcs11_uri_of_any_attributes(
        pairs in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "token", "manufacturer", "model", "serial", "slot-id", "slot-description",
                    "slot-manufacturer", "library-description", "library-manufacturer",
                    "library-version", "object", "id", "type", "pin-value", "x-vendor", "",
                ]),
                "([a-z0-9.;=?&%]|%[0-9A-F]{2}|private|\\PC){0,8}",
            ),
            0..5,
        ),
        query in "(\\?[a-z=&%-]{0,12})?",
    ) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("pkcs11:{}{query}", pairs.join(";"));
        if let Ok(uri) = text.parse::<Pkcs11Uri>() {
            prop_assert_eq!(uri.to_string().parse::<Pkcs11Uri>(), Ok(uri), "{}", text);
        }
    }

    #[test]
    fn a_damaged_certificate(edits in edits()) {
        let der = edited(&VALID.leaf, &edits);
        if let Ok(certificate) = Certificate::from_der(&der, PLACE) {
            let issuing = Certificate::from_der(VALID.framework.issuing_der(), PLACE).unwrap();
            if certificate.is_issued_by(&issuing) {
                // What is outside of the signed part may differ, and nothing else.
                let leaf = Certificate::from_der(&VALID.leaf, PLACE).unwrap();
                prop_assert_eq!(signed(&certificate), signed(&leaf));
            }
            let _ = certificate.check_client(SystemTime::now());
            let _ = certificate.days_left(SystemTime::now());
            let _ = (certificate.not_before(), certificate.not_after(), certificate.serial_der());
            let _ = (certificate.issuer().to_string(), certificate.fingerprint());
            prop_assert!(read_pem(&certificate.pem(), PLACE).is_ok());
        }
    }

    #[test]
    fn a_damaged_pem(
        at in any::<Index>(),
        to in any::<Index>(),
        inserted in "(-----BEGIN [A-Z ]{0,20}-----\n|-----END CERTIFICATE-----|[A-Za-z0-9+/=\n]{0,70}|\\PC{0,5})",
    ) {
        let pem = VALID.framework.bundle_pem();
        let (from, to) = (at.index(pem.len()), to.index(pem.len()));
        let text = format!("{}{inserted}{}", &pem[..from], &pem[to..]);
        for certificate in read_pem(&text, PLACE).into_iter().flatten() {
            let _ = certificate.check_client(SystemTime::now());
        }
    }

    #[test]
    fn damaged_anchors(edits in edits(), root in any::<bool>()) {
        let framework = &VALID.framework;
        let der = if root { framework.root_der() } else { framework.issuing_der() };
        let damaged = pem("CERTIFICATE", &edited(der, &edits));
        let other = pem("CERTIFICATE", if root { framework.issuing_der() } else { framework.root_der() });
        let mut config = VALID.config.clone();
        let folder = tempfile::tempdir_in(VALID.folder.path()).unwrap();
        config.trust.anchors = folder.path().join("anchors.pem");
        fs::write(&config.trust.anchors, damaged + &other).unwrap();
        let provider = tls::provider(&config.tls);
        if let Ok(anchors) = Anchors::load(&config) {
            let leaf = Certificate::from_der(&VALID.leaf, PLACE).unwrap();
            if let Ok(chain) = Chain::complete(&[leaf], &anchors, config.environment) {
                let _ = verify_client_chain(&chain, &anchors, &provider);
            }
        }
    }

    #[test]
    fn a_damaged_crl(edits in edits(), as_pem in any::<bool>()) {
        let config = &VALID.config;
        let provider = tls::provider(&config.tls);
        let anchors = Anchors::load(config).unwrap();
        let der = edited(&VALID.crl, &edits);
        let folder = tempfile::tempdir_in(VALID.folder.path()).unwrap();
        let path = folder.path().join("list.crl");
        fs::write(&path, if as_pem { pem("X509 CRL", &der).into_bytes() } else { der }).unwrap();
        let mut trust = config.trust.clone();
        trust.mode = hsm_mtls::internal::config::trust::TrustMode::TrustFramework;
        trust.crls = vec![path.clone().into()];
        if let Err(error) = TrustStore::load(&trust, &anchors, &provider) {
            prop_assert!(error.to_string().contains(path.to_str().unwrap()), "{}", error);
        }
    }

    #[test]
    fn a_damaged_name(edits in edits()) {
        let leaf = Certificate::from_der(&VALID.leaf, PLACE).unwrap();
        if let Some(name) = DistinguishedName::from_der(&edited(&leaf.subject().der(), &edits)) {
            let shown = name.to_string();
            let same = name.compare(&shown);
            // A control character is not shown, so what is shown is another name.
            let plain = !shown.contains(char::REPLACEMENT_CHARACTER);
            prop_assert!(same != Comparison::Mismatch || !plain, "{}", shown);
            prop_assert_eq!(DistinguishedName::from_der(&name.der()), Some(name));
        }
    }

    #[test]
    fn a_damaged_rendering(at in any::<Index>(), inserted in "([,;+/=\"\\\\# ]|\\\\x?[0-9A-F]{0,2}|\\PC){0,6}") {
        let name = Certificate::from_der(&VALID.leaf, PLACE).unwrap().subject();
        let shown: Vec<char> = name.to_string().chars().collect();
        let (before, after) = shown.split_at(at.index(shown.len()));
        let text = format!("{}{inserted}{}", before.iter().collect::<String>(), after.iter().collect::<String>());
        let _ = name.compare(&text);
        let _ = name.compare(&format!("/{}", text.replace(", ", "/")));
    }

    #[test]
    fn any_answer_of_hello_mtls(fields in proptest::collection::vec((hello_field(), json_value()), 0..6)) {
        let mut body = json!({
            "connectionEstablished": true,
            "mtlsStatus": "established",
            "hostName": "cm",
            "clientCertificate": { "subject": "C=AE, CN=c3", "issuer": "CN=Issuing" },
        });
        for (field, value) in fields {
            match field.split_once('.') {
                Some((outer, inner)) if body[outer].is_object() => body[outer][inner] = value,
                Some(_) => {}
                None => body[field] = value,
            }
        }
        let leaf = Certificate::from_der(&VALID.leaf, PLACE).unwrap();
        if let Some(hello) = HelloMtlsResponse::parse(body.to_string().as_bytes()) {
            let no = body["connectionEstablished"] == false;
            prop_assert!(!(no && hello.established()));
            prop_assert!(hello.compare(&leaf) != Comparison::Match, "another name");
        }
    }
}

fn pem(label: &'static str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

fn signed(certificate: &Certificate) -> [Vec<u8>; 4] {
    [
        certificate.subject().der(),
        certificate.serial_der(),
        certificate.not_after().into_bytes(),
        certificate
            .public_key()
            .map_or_else(Vec::new, |key| key.spki().to_vec()),
    ]
}

fn hello_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "connectionEstablished",
        "mtlsStatus",
        "hostName",
        "clientCertificate",
        "clientCertificate.subject",
        "clientCertificate.issuer",
        "more",
    ])
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(established|not-established|[A-Z]{1,2}=\\PC{0,9}(, )?){0,3}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ]
}
