//! The steps of a rotation as an operator takes them, and requests to a proxy all the while.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use der::{Decode as _, DecodePem as _, Encode as _};
use serde_json::Value;
use x509_cert::request::CertReq;

use crate::common::bank::{Bank, Run};

/// `[ledger]` in this folder.
pub(crate) fn ledger_in(folder: &Path) -> String {
    format!(
        "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
        folder.display()
    )
}

/// A bank with a C3 pair and a ledger of its own.
pub(crate) fn bank(key_type: &str) -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    bank.certify(key_type);
    bank
}

/// Runs a step.
pub(crate) fn rotate(bank: &Bank, arguments: &[&str]) -> Run {
    bank.run(&[&["rotate"], arguments].concat())
}

/// The status in JSON.
pub(crate) fn state(bank: &Bank, options: &[&str]) -> Value {
    rotate(bank, &[&["status", "--json"], options].concat())
        .expect(0)
        .json()
}

/// The message of a step that is refused, with what it ends with.
pub(crate) fn refused(bank: &Bank, arguments: &[&str], code: i32) -> String {
    let before = fingerprint_of_everything(bank);
    let run = rotate(bank, arguments).expect(code);
    assert!(run.stderr.contains("hint:"), "{arguments:?}: {run:?}");
    let after = fingerprint_of_everything(bank);
    let paths = before.keys().chain(after.keys());
    let changed: Vec<_> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .collect();
    assert!(changed.is_empty(), "{arguments:?} changed {changed:?}");
    run.stderr
}

/// The bank's files, but for the ledger, the locks and the time of the last login, and the keys' files of the token.
pub(crate) fn fingerprint_of_everything(bank: &Bank) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = bank.token.files();
    let of_others = ["ledger.jsonl", ".lock", "proxy.log", "access.jsonl"];
    // SoftHSM writes down each login.
    all.retain(|(path, _)| !path.ends_with("token.object"));
    let mut folders = vec![bank.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if of_others.iter().any(|end| name.ends_with(end)) || name.starts_with("pin-") {
                continue;
            } else if path.is_file() {
                all.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    all.into_iter().collect()
}

/// Has the request of the rotation certified, and returns the file with the chain.
pub(crate) fn certified(bank: &Bank, request: &str) -> PathBuf {
    let leaf = bank.framework.issue_client(request);
    bank.write("new.pem", &(leaf + &bank.framework.issuing_pem()))
}

/// `start`, with the request that it prints.
pub(crate) fn start(bank: &Bank, options: &[&str]) -> String {
    rotate(bank, &[&["start"], options].concat())
        .expect(0)
        .stdout
}

/// The subject of a request, in DER.
pub(crate) fn subject_of_request(pem: &str) -> Vec<u8> {
    CertReq::from_pem(pem)
        .unwrap()
        .info
        .subject
        .to_der()
        .unwrap()
}

/// The subject of the first certificate of a file, in DER.
pub(crate) fn subject_of_certificate(path: &Path) -> Vec<u8> {
    let (_, der) = der::pem::decode_vec(first(&fs::read(path).unwrap())).unwrap();
    let certificate = x509_cert::Certificate::from_der(&der).unwrap();
    certificate.tbs_certificate().subject().to_der().unwrap()
}

fn first(chain: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END CERTIFICATE-----\n";
    let at = chain.windows(END.len()).position(|window| window == END);
    &chain[..at.unwrap() + END.len()]
}

/// The labels of the private keys.
pub(crate) fn labels(bank: &Bank, options: &[&str]) -> Vec<String> {
    let listed = bank
        .run(&[&["key", "list", "--json"], options].concat())
        .expect(0)
        .json();
    let keys = listed["keys"].as_array().unwrap().clone();
    let uri = |key: &Value| key["uri"].as_str().unwrap().to_owned();
    let mut labels: Vec<_> = keys
        .iter()
        .map(|key| {
            let uri = uri(key);
            let (_, rest) = uri.split_once("object=").unwrap();
            rest.split(';').next().unwrap().to_owned()
        })
        .collect();
    labels.sort();
    labels
}

/// The steps of the rotation that the ledger has, in their order.
pub(crate) fn recorded(ledger: &Path) -> Vec<String> {
    let text = fs::read_to_string(ledger).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter(|record| record["kind"] == "rotation")
        .map(|record| record["step"].as_str().unwrap().to_owned())
        .collect()
}

/// The CKA_ID of the new key that is on disk, as hexadecimal digits.
pub(crate) fn id_of_new(bank: &Bank) -> String {
    let files = fs::read_dir(bank.path("state")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let path = files.find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("rotation-c3-") && name.ends_with(".json")
    });
    let text = fs::read_to_string(path.unwrap()).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    state["new"]["id"].as_str().unwrap().to_owned()
}

/// The bytes of hexadecimal digits.
pub(crate) fn bytes_of(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
