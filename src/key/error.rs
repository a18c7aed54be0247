//! The errors of finding, generating and storing keys and certificates: message, hint and exit code of each.

use std::time::Duration;

use thiserror::Error;

use super::unsupported::{SUPPORTED, UnsupportedKey};
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::ledger::LedgerError;
use crate::token::fault::Fault;
use crate::truncated_list::first_few;

/// Why a key cannot be found, used or generated, or a certificate not stored.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The ledger could not record the operation, so it was not carried out.
    #[error("no key is made or destroyed without its record: {0}")]
    Ledger(#[from] LedgerError),
    /// No private key matches the URI.
    #[error(
        "no private key matches {uri}; there is: {}",
        first_few(candidates, ", ")
    )]
    NoMatch {
        /// The URI that was searched for.
        uri: String,
        /// Every private key that this user can see.
        candidates: Vec<String>,
    },
    /// The token shows no private key at all.
    #[error("no private key matches {uri}; the token shows none{}", if *logged_in { "" } else { " without a login" })]
    NoneShown {
        /// The URI that was searched for.
        uri: String,
        /// Whether somebody is logged in.
        logged_in: bool,
    },
    /// More than one private key matches the URI.
    #[error("{} private keys match {uri}: {}", candidates.len(), first_few(candidates, ", "))]
    Ambiguous {
        /// The URI that was searched for.
        uri: String,
        /// The keys that match.
        candidates: Vec<String>,
    },
    /// The keys that match are not the certificate's.
    #[error(
        "the certificate is of the public key {expected}, and no private key that matches {uri} has it: {}",
        first_few(candidates, ", ")
    )]
    NotOfCertificate {
        /// The URI that was searched for.
        uri: String,
        /// SHA-256 of the certificate's SubjectPublicKeyInfo.
        expected: String,
        /// The keys that match, with the fingerprints of their public keys.
        candidates: Vec<String>,
    },
    /// The token does not report the public key.
    #[error("the token shows no public key for {uri}")]
    PublicKeyWithheld {
        /// The private key.
        uri: String,
    },
    /// The key is of a kind or size that is not supported.
    #[error("the key {uri} is {kind}, which is not supported")]
    Unsupported {
        /// The private key.
        uri: String,
        /// The key's kind.
        kind: UnsupportedKey,
    },
    /// The token already has an object with this label.
    #[error("the token holds an object with the label {label:?} already: {uri}")]
    LabelTaken {
        /// CKA_LABEL
        label: String,
        /// The object that has the label.
        uri: String,
    },
    /// The URI names another certificate already.
    #[error("the token holds another certificate at that place: {uri}")]
    CertificateThere {
        /// The certificate that the token has.
        uri: String,
    },
    /// The token does not generate this kind of key.
    #[error("the token says that it does not generate {0} key pairs")]
    CannotGenerate(String),
    /// Keys of this family are made another way.
    #[error("{why}; no key was made")]
    VendorTool {
        /// Why not here.
        why: &'static str,
        /// What to type instead.
        advice: &'static str,
    },
    /// What the token's module says of each key is known to be wrong.
    #[error("{claim}; no key was made")]
    KnownClaims {
        /// What it says.
        claim: &'static str,
    },
    /// A search does not find the new key.
    #[error("the token made {uri}, and did not find it within {} s", after.as_secs_f64())]
    NotFoundYet {
        /// The new key.
        uri: String,
        /// How long it was searched for.
        after: Duration,
    },
    /// The token generated a key with other attributes than requested.
    #[error("the token made {uri}, but reports it with {why}")]
    NotAsAsked {
        /// The new key.
        uri: String,
        /// The attribute that is wrong.
        why: String,
    },
    /// The token says of each such key that it has more uses than to sign.
    #[error(
        "the token says CKA_DECRYPT or CKA_UNWRAP true of such a key, whatever is requested; none was kept"
    )]
    ClaimsMore,
    /// A key that is not kept could not be destroyed.
    #[error(
        "a key that is not to be used is still on the token: {uri}; it could not be destroyed: {why}"
    )]
    LeftBehind {
        /// Its URI.
        uri: String,
        /// Why C_DestroyObject failed.
        why: Fault,
    },
    /// A PKCS#11 call failed.
    #[error("the token failed: {0}")]
    Call(Fault),
}

impl Diagnostic for KeyError {
    fn hint(&self) -> String {
        match self {
            Self::NoneShown { logged_in: true, .. } => {
                "check that `uri` of [[token]] names the right token; on a new one, make a key with `hsm-mtls key generate`".to_owned()
            }
            Self::NoneShown { logged_in: false, .. } => {
                "a token shows its private keys after a login only: write `login = \"always\"` into [[token]]".to_owned()
            }
            Self::NoMatch { .. } => "correct `key` of [c3]; `hsm-mtls key list` shows what is there".to_owned(),
            Self::Ambiguous { .. } => "add `id=` to `key` of [c3] so that it names exactly one".to_owned(),
            Self::NotOfCertificate { .. } => {
                "install the certificate that was issued for this key's request (`hsm-mtls cert install`), or correct `key` of [c3]".to_owned()
            }
            Self::PublicKeyWithheld { .. } => {
                "import the public key beside the private one with the same CKA_ID (vendor's tool), or install the certificate first".to_owned()
            }
            Self::Unsupported { .. } => format!(
                "supported are {SUPPORTED}, and the scheme documents RSA-2048: make such a key with `hsm-mtls key generate` or the \
                 vendor's tool, and name it in `key` of [c3]; nothing is wrong with the token"
            ),
            Self::LabelTaken { .. } => {
                "choose another --label: two keys of one label cannot be told apart later; nothing was made".to_owned()
            }
            Self::CertificateThere { .. } => {
                "nothing is replaced in place: name the new one apart in `certificate` of [c3] (another object= or id=), \
                 install it, cut over, and remove the old one later"
                    .to_owned()
            }
            Self::CannotGenerate(_) => {
                "the scheme accepts RSA-2048 only: have its generation switched on in the token's policy, or make the key with the \
                 vendor's tool and write its URI into `key` of [c3]; any other --type is for trials"
                    .to_owned()
            },
            Self::VendorTool { advice, .. } => (*advice).to_owned(),
            Self::KnownClaims { .. } => {
                "pass --accept-claims to make the key nevertheless: what the token's administrator sees of it decides, not what the \
                 module says (from documents)"
                    .to_owned()
            }
            Self::NotFoundYet { .. } => {
                "it is as it was asked for, and stays: another HSM of the cluster may get it later; look with `hsm-mtls key list` before \
                 another one is made"
                    .to_owned()
            }
            Self::NotAsAsked { .. } => {
                "the key was destroyed again; ask the token's administrator about its policy".to_owned()
            }
            Self::ClaimsMore => {
                "if the vendor's documents say that this claim has no effect, pass --accept-claims; else have the token's policy changed".to_owned()
            }
            Self::LeftBehind { .. } => {
                "destroy it with the vendor's tool, and never use it; then try again".to_owned()
            }
            Self::Ledger(error) => error.hint(),
            Self::Call(fault) => fault.advice().to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Call(fault) => fault.exit_code(),
            Self::NotAsAsked { .. }
            | Self::ClaimsMore
            | Self::LeftBehind { .. }
            | Self::VendorTool { .. }
            | Self::KnownClaims { .. }
            | Self::NotFoundYet { .. }
            | Self::CannotGenerate(_) => ExitCode::Token,
            _ => ExitCode::Configuration,
        }
    }
}
