//! The extensions of both hellos (RFC 5246, section 7.4.1.4): a list of types and bodies, in any order, each type once.

use super::byte_reader::ByteReader;

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const STATUS_REQUEST: u16 = 5;
pub(super) const SUPPORTED_GROUPS: u16 = 10;
pub(super) const EC_POINT_FORMATS: u16 = 11;
pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const PROTOCOLS: u16 = 16;
pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
/// Of a session of TLS 1.3, which is opaque: a handshake with it is not signed for TLS 1.2.
const PRE_SHARED_KEY: u16 = 41;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;
pub(super) const PSK_KEY_EXCHANGE_MODES: u16 = 45;
pub(super) const KEY_SHARE: u16 = 51;
pub(super) const RENEGOTIATION_INFO: u16 = 0xff01;

/// The name in IANA's registry of those that a handshake of ours may have.
pub(super) fn name(number: u16) -> &'static str {
    match number {
        SERVER_NAME => "server_name",
        STATUS_REQUEST => "status_request",
        SUPPORTED_GROUPS => "supported_groups",
        EC_POINT_FORMATS => "ec_point_formats",
        SIGNATURE_ALGORITHMS => "signature_algorithms",
        PROTOCOLS => "application_layer_protocol_negotiation",
        EXTENDED_MASTER_SECRET => "extended_main_secret",
        SUPPORTED_VERSIONS => "supported_versions",
        PSK_KEY_EXCHANGE_MODES => "psk_key_exchange_modes",
        KEY_SHARE => "key_share",
        RENEGOTIATION_INFO => "renegotiation_info",
        PRE_SHARED_KEY => {
            "pre_shared_key: a session of TLS 1.3 was offered to a server that answers with TLS 1.2"
        }
        _ => "an extension that is not ours",
    }
}

/// The extensions of a hello.
#[derive(Debug)]
pub(super) struct Extensions<'a>(Vec<(u16, ByteReader<'a>)>);

impl<'a> Extensions<'a> {
    pub(super) fn parse(mut list: ByteReader<'a>) -> Option<Self> {
        let mut found: Vec<(u16, ByteReader<'a>)> = Vec::new();
        while !list.is_empty() {
            let number = list.u16()?;
            let body = list.vector16()?;
            if found.iter().any(|(earlier, _)| *earlier == number) {
                return None;
            }
            found.push((number, body));
        }
        Some(Self(found))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, ByteReader<'a>)> {
        self.0.iter().copied()
    }

    pub(super) fn find(&self, number: u16) -> Option<ByteReader<'a>> {
        self.iter()
            .find(|(found, _)| *found == number)
            .map(|(_, body)| body)
    }

    pub(super) fn types(&self) -> Vec<u16> {
        self.iter().map(|(number, _)| number).collect()
    }
}
