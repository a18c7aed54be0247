//! The key exchange with ephemeral keys on named curves (RFC 8422, sections 5.4 and 5.7), which is the only one that our
//! client offers: the server's parameters with its signature, and the client's public key.

use super::byte_reader::ByteReader;
use super::client_hello::ClientHello;
use super::server_hello::ServerHello;

const NAMED_CURVE: u8 = 3;
const UNCOMPRESSED: u8 = 4;
const SECP256R1: u16 = 23;
const SECP384R1: u16 = 24;
const X25519: u16 = 29;
const X25519MLKEM768: u16 = 0x11ec;
/// That of RSA-8192.
const MAX_SIGNATURE: usize = 1024;

/// A ServerKeyExchange.
#[derive(Debug)]
pub(super) struct ServerKeyExchange<'a> {
    pub(super) group: u16,
    /// What is signed of this message.
    pub(super) parameters: &'a [u8],
    pub(super) scheme: u16,
    pub(super) signature: &'a [u8],
}

impl<'a> ServerKeyExchange<'a> {
    /// The error is the field that is wrong.
    pub(super) fn parse(
        body: &'a [u8],
        client: &ClientHello<'_>,
        server: &ServerHello<'_>,
    ) -> Result<Self, &'static str> {
        let mut reader = ByteReader::new(body);
        if reader.u8() != Some(NAMED_CURVE) {
            return Err("curve_type");
        }
        let group = reader.u16().filter(|group| client.groups.contains(group));
        let group = group.ok_or("named_curve")?;
        let point = reader.vector8().ok_or("public_key")?.rest();
        if !is_tls12_point(group, point) {
            return Err("public_key");
        }
        let parameters = &body[..body.len() - reader.rest().len()];
        let fits =
            |scheme: &u16| client.schemes.contains(scheme) && server.schemes.contains(scheme);
        let scheme = reader.u16().filter(fits).ok_or("algorithm")?;
        let signature = reader.vector16().ok_or("signature")?.rest();
        if !(1..=MAX_SIGNATURE).contains(&signature.len()) {
            return Err("signature");
        }
        reader.end().ok_or("end")?;
        Ok(Self {
            group,
            parameters,
            scheme,
            signature,
        })
    }
}

/// Checks a ClientKeyExchange: a public key of the group that the server chose. The error is the field that is wrong.
pub(super) fn check_client_key_exchange(body: &[u8], group: u16) -> Result<(), &'static str> {
    let mut reader = ByteReader::new(body);
    let point = reader.vector8().ok_or("public_key")?.rest();
    if !is_tls12_point(group, point) {
        return Err("public_key");
    }
    reader.end().ok_or("end")
}

/// Whether the public key has the form of this group's, and TLS 1.2 has the group.
fn is_tls12_point(group: u16, point: &[u8]) -> bool {
    group != X25519MLKEM768 && share_is_well_formed(group, point)
}

/// Whether a public key or key share has the form of this group's (RFC 8446, section 4.2.8).
pub(super) fn share_is_well_formed(group: u16, share: &[u8]) -> bool {
    let (length, is_point) = match group {
        SECP256R1 => (65, true),
        SECP384R1 => (97, true),
        X25519 => (32, false),
        // The encapsulation key, and a share of X25519.
        X25519MLKEM768 => (1184 + 32, false),
        _ => return false,
    };
    share.len() == length && (!is_point || share[0] == UNCOMPRESSED)
}
