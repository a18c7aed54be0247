//! `[tls]`: the key-exchange groups that the ClientHello offers, where a middlebox or a policy requires others than the
//! default, and whether sessions are resumed.

use std::time::Duration;

use serde::Deserialize;

use super::field;

/// `[tls]`: parameters of the handshake.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The key-exchange groups in order of preference. `None`: the provider's default, which begins with the hybrid
    /// post-quantum group X25519MLKEM768 and so makes the ClientHello larger than one packet.
    #[serde(default, deserialize_with = "field::groups")]
    pub groups: Option<Vec<Group>>,
    /// How long after a handshake its session may be resumed. `None`: each connection makes a full handshake.
    #[serde(default, deserialize_with = "field::duration_or_off")]
    pub resumption: Option<Duration>,
}

/// A key-exchange group, by its name in the IANA registry "TLS Supported Groups".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Group {
    /// Hybrid of X25519 and ML-KEM-768.
    X25519MLKEM768,
    /// X25519 (RFC 7748).
    #[serde(rename = "x25519")]
    X25519,
    /// NIST P-256.
    #[serde(rename = "secp256r1")]
    Secp256r1,
    /// NIST P-384.
    #[serde(rename = "secp384r1")]
    Secp384r1,
}
