//! The types of records and their fields. Programs that collect ledgers depend on the serialised names.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;

use crate::config::trust::Fingerprint;

/// The contents of a record: an operation that is about to take place, or the outcome of one.
///
/// It is serialised as a JSON object whose field `kind` is the variant in kebab case (`attempt`, `key-generation` ...).
/// `docs/ledger.md` describes all fields.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Entry<'a> {
    /// C_Sign is about to be called.
    Attempt(Attempt<'a>),
    /// C_Login is about to be called.
    Login(Login<'a>),
    /// C_Finalize and C_Initialize are about to be called.
    Initialize(Initialize<'a>),
    /// C_GenerateKeyPair is about to be called.
    KeyGeneration(KeyGeneration<'a>),
    /// C_SetAttributeValue is about to be called for a new key.
    KeyChange(KeyChange<'a>),
    /// C_DestroyObject is about to be called for a key pair.
    KeyDestruction(KeyDestruction<'a>),
    /// The outcome of one of these operations.
    Outcome(Outcome<'a>),
    /// The signer process refused a request. No operation took place.
    Refused(RefusedRequest<'a>),
    /// A step of a rotation is about to take effect. It has no outcome.
    Rotation(RotationStep<'a>),
}

/// C_Sign is about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt<'a> {
    /// The purpose: `tls13-client-auth`, `tls12-client-auth`, `csr`, `proof`, `self-test` or `jwt`.
    pub purpose: &'a str,
    /// The key's PKCS#11 URI.
    pub key: &'a str,
    /// The SHA-256 of the key's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// The scheme's name in the IANA registry "TLS SignatureScheme".
    pub scheme: &'a str,
    /// The SHA-256 of the message, whichever hash the scheme uses.
    pub message: Fingerprint,
    /// The peer that the signature is for, as `host:port`, or `host` where the port is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
    /// The `x-fapi-interaction-id` of the request that the connection is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<&'a str>,
    /// The token's `jti`, where the purpose is `jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'a str>,
    /// Its `aud`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<&'a str>,
    /// Its `exp`, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The process that calls.
    pub process: Process,
}

/// C_Login is about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct Login<'a> {
    /// The token's PKCS#11 URI.
    pub token: &'a str,
    /// `user`, `security-officer`, or the vendor's number.
    pub role: &'a str,
    /// The user's name, where the login names one (C_LoginUser).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<&'a str>,
    /// The source of the PIN; never the PIN.
    pub pin_source: &'a str,
    /// The operator's acceptance of the token's warning, which this login uses up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedLogin<'a>>,
    /// The process that logs in.
    pub process: Process,
}

/// An operator's acceptance of a login although the token warned that few tries are left.
#[derive(Clone, Debug, Serialize)]
pub struct AcceptedLogin<'a> {
    /// The CKF_ flag.
    pub flag: &'a str,
    /// When it was accepted, RFC 3339.
    pub at: String,
    /// The operator's user id on this machine.
    pub by: u32,
}

/// C_Finalize and C_Initialize are about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct Initialize<'a> {
    /// The module's path.
    pub module: &'a str,
    /// The process that calls.
    pub process: Process,
}

/// C_GenerateKeyPair is about to be called.
#[derive(Clone, Debug, Serialize)]
pub struct KeyGeneration<'a> {
    /// The token's PKCS#11 URI.
    pub token: &'a str,
    /// CKA_LABEL of the pair.
    pub label: &'a str,
    /// The key algorithm.
    pub algorithm: &'a str,
    /// The CKM_ name of the mechanism.
    pub mechanism: &'a str,
    /// The process that calls.
    pub process: Process,
}

/// C_SetAttributeValue is about to be called for a new key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyChange<'a> {
    /// The private key's PKCS#11 URI.
    pub key: &'a str,
    /// The attribute and its new value, as `CKA_COPYABLE false`, with the half of the pair where that is the public one.
    pub change: &'a str,
    /// The process that calls.
    pub process: Process,
}

/// C_DestroyObject is about to be called for a key pair.
#[derive(Clone, Debug, Serialize)]
pub struct KeyDestruction<'a> {
    /// The private key's PKCS#11 URI.
    pub key: &'a str,
    /// The process that calls.
    pub process: Process,
}

/// The signer process refused a request: the front end that sent it is compromised or has a bug.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedRequest<'a> {
    /// The purpose that the request claimed; absent if it claimed none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
    /// Why it was refused.
    pub why: &'a str,
    /// The peer that the request claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
    /// The interaction id that the request claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<&'a str>,
    /// The number of refusals since the last record that were not recorded, because of the rate limit.
    pub left_out: u64,
    /// The process that refused.
    pub process: Process,
}

/// A step of a rotation is about to take effect: one key and its certificate are replaced by others, side by side.
#[derive(Clone, Debug, Serialize)]
pub struct RotationStep<'a> {
    /// What the keys are for: `c3` or `sig4`.
    pub role: &'a str,
    /// The step: `start`, `install`, `test`, `switch`, `back`, `retire` or `abandon`.
    pub step: &'a str,
    /// The PKCS#11 URI of the key that the step is about: of `back` and `retire` the old one, else the new one.
    pub key: &'a str,
    /// SHA-256 of its SubjectPublicKeyInfo; absent before there is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki: Option<Fingerprint>,
    /// SHA-256 of its certificate; absent before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fingerprint>,
    /// The process that takes the step.
    pub process: Process,
}

/// A process, as it is named in records.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The name of its executable.
    pub program: &'static str,
}

impl Process {
    /// The current process.
    pub fn current() -> Self {
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

/// The outcome of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<'a> {
    /// The sequence number of the operation's first record.
    pub of: u64,
    /// How the operation ended.
    pub result: OutcomeResult,
    /// The class of the error: [`crate::engine::EngineError::class`] for a signature, otherwise
    /// [`crate::token::fault::FaultClass::name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'a str>,
    /// The CK_RV that the module returned, by its PKCS#11 name; absent if no call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ckr: Option<String>,
    /// The PKCS#11 function that returned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// SHA-256 of the generated key's SubjectPublicKeyInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki: Option<Fingerprint>,
    /// The time since the operation's first record, in microseconds. It includes the verification of a signature.
    #[serde(rename = "micros", serialize_with = "micros")]
    pub duration: Duration,
}

fn micros<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_micros() as u64)
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeResult {
    /// It succeeded. A signature was made, verified, and handed to its caller.
    Good,
    /// A signature was made and discarded: its caller's deadline had passed.
    Late,
    /// It failed, or its result was wrong and was discarded.
    Failed,
}
