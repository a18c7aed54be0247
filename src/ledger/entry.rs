//! What a record says. The names are a contract: whoever collects ledgers reads them.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;

use crate::config::trust::Fingerprint;

/// What is about to be done, or what came of it. `kind` names it in the record.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Entry<'a> {
    /// The token is about to be asked for a signature.
    Attempt(Attempt<'a>),
    /// C_Login is about to be called.
    Login(Login<'a>),
    /// C_Finalize and C_Initialize are about to be called.
    Initialize(Initialize<'a>),
    /// C_GenerateKeyPair is about to be called.
    KeyGeneration(KeyGeneration<'a>),
    /// C_DestroyObject is about to be called for a key pair.
    KeyDestruction(KeyDestruction<'a>),
    /// What came of one of these.
    Outcome(Outcome<'a>),
    /// The signer process was asked for something that it does not sign. Nothing was begun.
    Refused(Refused<'a>),
}

/// The token is about to be asked for a signature.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt<'a> {
    /// What for: `tls13-client-auth`, `tls12-client-auth`, `csr`, `proof` or `self-test`.
    pub purpose: &'a str,
    /// The key's PKCS#11 URI.
    pub key: &'a str,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// The scheme's name in the IANA registry "TLS SignatureScheme".
    pub scheme: &'a str,
    /// SHA-256 of the message, whatever hash the scheme takes.
    pub message: Fingerprint,
    /// Who the signature is for, as `host:port`, or `host` where the port is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
    /// `x-fapi-interaction-id` of the request that wants the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<&'a str>,
    /// Who asks.
    pub process: Process,
}

/// C_Login is about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct Login<'a> {
    /// The token's PKCS#11 URI.
    pub token: &'a str,
    /// `user`, `security-officer`, or the vendor's number.
    pub role: &'a str,
    /// Where the PIN comes from; never the PIN.
    pub pin_source: &'a str,
    /// The operator's acceptance that this login uses up, where the token warned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted<'a>>,
    /// Who logs in.
    pub process: Process,
}

/// That an operator answered for a login in spite of the token's warning.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted<'a> {
    /// The CKF_ flag.
    pub flag: &'a str,
    /// When, RFC 3339.
    pub at: String,
    /// The operator's user id on this machine.
    pub by: u32,
}

/// C_Finalize and C_Initialize are about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct Initialize<'a> {
    /// The module's path.
    pub module: &'a str,
    /// Who calls.
    pub process: Process,
}

/// C_GenerateKeyPair is about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct KeyGeneration<'a> {
    /// The token's PKCS#11 URI.
    pub token: &'a str,
    /// CKA_LABEL of the pair.
    pub label: &'a str,
    /// What kind of key.
    pub algorithm: &'a str,
    /// Who calls.
    pub process: Process,
}

/// C_DestroyObject is about to be called for a key pair.
#[derive(Clone, Debug, Serialize)]
pub struct KeyDestruction<'a> {
    /// The private key's PKCS#11 URI.
    pub key: &'a str,
    /// Who calls.
    pub process: Process,
}

/// The signer process was asked for something that it does not sign, by a front end that was taken
/// over, or that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Refused<'a> {
    /// What it was said to be for; absent where it was not even said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
    /// Why it is not signed.
    pub why: &'a str,
    /// Who it was said to be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
    /// The interaction id that was given with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<&'a str>,
    /// How many refusals before it, since the one that was recorded last, have no record.
    pub left_out: u64,
    /// Who refused.
    pub process: Process,
}

/// A process, as the record has it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The name of its executable.
    pub program: &'static str,
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        static PROGRAM: LazyLock<String> = LazyLock::new(|| {
            let path = std::env::current_exe().unwrap_or_default();
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        });
        Self {
            pid: std::process::id(),
            program: &PROGRAM,
        }
    }
}

/// What came of what was begun.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<'a> {
    /// The number of the record that it began with.
    pub of: u64,
    /// Whether it was done.
    pub result: Done,
    /// The error's class: [`crate::engine::EngineError::class`], and
    /// [`crate::token::fault::FaultClass::name`] for what is no signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'a str>,
    /// What the module returned, as PKCS#11 spells it; absent where no call of it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ckr: Option<String>,
    /// The PKCS#11 function that returned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the pair that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki: Option<Fingerprint>,
    /// Since the record that it began with, in microseconds. A signature's verification is part of
    /// it.
    #[serde(rename = "micros", serialize_with = "micros")]
    pub took: Duration,
}

fn micros<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(took.as_micros() as u64)
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It was done. A signature was made, verified, and handed to its caller.
    Good,
    /// A signature was made, and thrown away: its caller's deadline had passed.
    Late,
    /// It was not done, or what came of it was not good and was thrown away.
    Failed,
}
