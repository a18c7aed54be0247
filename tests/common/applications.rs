//! Applications as they are written: the programs of `tests/clients`, what they ask, and what each of
//! their calls must have brought back.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest;
use serde_json::Value;
use uuid::Uuid;

use super::hub::answer::{AFTER_AUTH, AFTER_CONFIRM};

const BIG: usize = 10 << 20;

/// What each of them asks of the hub, in this order.
pub const ASKED: [&str; 7] = [
    "GET /consents/1?a=%2Fb&c=d%20e&a=+",
    "GET /auth?client_id=tpp&request=a%3D%3D&redirect_uri=https%3A%2F%2Ftpp.example%2Fcb",
    "POST /auth/3f1c9d2e/doConfirm",
    "PATCH /consents/1",
    "PATCH /consents/2",
    "PATCH /consents/3",
    "GET /nothing",
];

/// Python's requests, Node's fetch and Java's HttpClient; each takes a base URL.
pub fn clients() -> [(&'static str, Command); 3] {
    [
        ("requests", program("python3", "requests_client.py")),
        ("fetch", program("node", "fetch_client.mjs")),
        ("HttpClient", program("java", "HttpClientCalls.java")),
    ]
}

fn program(program: &str, file: &str) -> Command {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/clients");
    let mut command = Command::new(program);
    command.arg(folder.join(file));
    command
}

/// What a program printed; it must have ended well.
pub fn output(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; make test installs it"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {text}\n{errors}");
    text
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn big() -> Vec<u8> {
    b"0123456789abcdef".repeat(BIG / 16)
}

/// What the calls of a client must have brought back.
pub fn came_back(name: &str, results: &Value) {
    let result = |call: &str| &results[call];
    for (call, status) in [
        ("get", 200),
        ("auth", 303),
        ("form", 303),
        ("patch", 200),
        ("chunked", 200),
        ("small-chunked", 200),
        ("missing", 404),
    ] {
        let found = result(call);
        assert_eq!(found["status"], status, "{name} {call}: {results:#}");
        let id = found["id"].as_str().expect("an interaction id");
        let id = Uuid::parse_str(id).expect("a UUID");
        assert_eq!(id.get_version_num(), 4, "{name} {call}");
    }
    assert_eq!(result("auth")["location"], AFTER_AUTH, "{name}");
    assert_eq!(result("form")["location"], AFTER_CONFIRM, "{name}");
    for call in ["patch", "chunked"] {
        assert_eq!(result(call)["length"], BIG, "{name} {call}");
        assert_eq!(result(call)["sha256"], sha256(&big()), "{name} {call}");
    }
    assert_eq!(
        result("small-chunked")["sha256"],
        sha256(b"{} \n"),
        "{name}"
    );
}
