//! What hubs in Python (PyJWT) and Node (jose) say of tokens: programs of `tests/clients`, with libraries that are not ours.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bank::{ORGANIZATION, ORGANIZATION_ID};
use super::sig4::AUDIENCE;

/// Debian's package `node-jose`.
const JOSE: &str = "/usr/share/nodejs/jose/dist/node/cjs/index.js";
/// Debian's, which has its packages `python3-jwt` and `python3-cryptography`.
const PYTHON: &str = "/usr/bin/python3";

fn program(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients")).join(file)
}

/// A JWK Set of these certificates.
pub fn jwks_of(certificates: &[&Path]) -> Value {
    let mut command = Command::new(PYTHON);
    command.arg(program("jwks_of.py")).args(certificates);
    output(&mut command, &Value::Null)
}

/// A token, and when it arrived, in Unix time.
pub type Arrived = (String, u64);

/// The verdicts of both hubs: `ok`, or the reason.
pub fn verdicts(jwks: &Value, tokens: &[Arrived]) -> [(&'static str, Vec<String>); 2] {
    let tokens: Vec<_> = tokens
        .iter()
        .map(|(token, at)| json!({ "token": token, "at": at }))
        .collect();
    let asked = json!({
        "jwks": jwks,
        "issuer": ORGANIZATION,
        "subject": ORGANIZATION_ID,
        "audience": AUDIENCE,
        "tokens": tokens,
    });
    let mut python = Command::new(PYTHON);
    python.arg(program("jwt_verdicts.py"));
    let mut node = Command::new("node");
    node.arg(program("jwt_verdicts.cjs")).arg(JOSE);
    [("PyJWT", python), ("jose", node)].map(|(name, mut command)| {
        let verdicts = output(&mut command, &asked);
        let verdicts = serde_json::from_value(verdicts).expect("a list of verdicts");
        (name, verdicts)
    })
}

fn output(command: &mut Command, input: &Value) -> Value {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; make test installs it"));
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who fails early reads nothing: its error says more.
    let _ = stdin.write_all(input.to_string().as_bytes());
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    serde_json::from_slice(&done.stdout).expect("JSON")
}
