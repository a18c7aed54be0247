//! The ClientHello (RFC 5246, section 7.4.1.2), as our own TLS client writes it. The server's signature covers nothing of it
//! but the random, so each field is held against what our client offers: there is no room for a text.

use super::byte_reader::ByteReader;
use super::extension::{self, Extensions};
use super::key_exchange::share_is_well_formed;
use crate::tls::hub_verifier::Offer;

pub(super) const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// In the place of `renegotiation_info` (RFC 5746, section 3.3).
const RENEGOTIATION_INFO_SCSV: u16 = 0x00ff;
/// The length of a session id that is made up for middleboxes (RFC 8446, section 4.1.2).
const SESSION_ID_LENGTH: usize = 32;
/// A hybrid share and that of its component.
const MAX_KEY_SHARES: usize = 2;
const MAX_HOST_NAME: usize = 253;

/// A ClientHello.
#[derive(Debug)]
pub(super) struct ClientHello<'a> {
    pub(super) random: &'a [u8],
    /// `None`: the server was called by its address.
    pub(super) server_name: Option<&'a str>,
    pub(super) suites: Vec<u16>,
    pub(super) groups: Vec<u16>,
    pub(super) schemes: Vec<u16>,
    pub(super) protocols: Vec<&'a [u8]>,
    pub(super) extensions: Vec<u16>,
}

impl<'a> ClientHello<'a> {
    /// The error is the field that is wrong.
    pub(super) fn parse(body: &'a [u8], offer: &Offer) -> Result<Self, &'static str> {
        let mut reader = ByteReader::new(body);
        if reader.u16() != Some(TLS12) {
            return Err("version");
        }
        let random = reader.bytes(32).ok_or("random")?;
        let session_id = reader.vector8().ok_or("session_id")?.rest();
        if ![0, SESSION_ID_LENGTH].contains(&session_id.len()) {
            return Err("session_id");
        }
        let all_suites = [&offer.suites[..], &[RENEGOTIATION_INFO_SCSV]].concat();
        let suites = reader.vector16().and_then(|list| subset(list, &all_suites));
        let suites = suites.ok_or("cipher_suites")?;
        let compression = reader.vector8().ok_or("compression_methods")?;
        if compression.rest() != [0] {
            return Err("compression_methods");
        }
        let extensions = reader.vector16().and_then(Extensions::parse);
        let extensions = extensions.ok_or("extensions")?;
        reader.end().ok_or("end")?;
        let mut hello = Self {
            random,
            server_name: None,
            suites,
            groups: Vec::new(),
            schemes: Vec::new(),
            protocols: Vec::new(),
            extensions: extensions.types(),
        };
        // The groups first: the key shares are of them.
        let groups = extensions.find(extension::SUPPORTED_GROUPS);
        let groups = groups.and_then(|mut body| whole_list(&mut body, &offer.groups));
        hello.groups = groups.ok_or("supported_groups")?;
        for (number, body) in extensions.iter() {
            hello.read_extension(number, body, offer)?;
        }
        match hello.schemes.is_empty() {
            true => Err("signature_algorithms"),
            false => Ok(hello),
        }
    }

    fn read_extension(
        &mut self,
        number: u16,
        mut body: ByteReader<'a>,
        offer: &Offer,
    ) -> Result<(), &'static str> {
        let is = |expected: &[u8]| (body.rest() == expected).then_some(());
        match number {
            extension::SUPPORTED_GROUPS => Some(()),
            extension::SERVER_NAME => {
                self.server_name = host_name(body);
                self.server_name.map(drop)
            }
            // An OCSP response, of any responder.
            extension::STATUS_REQUEST => is(&[1, 0, 0, 0, 0]),
            extension::EC_POINT_FORMATS => is(&[1, 0]),
            extension::EXTENDED_MASTER_SECRET => is(&[]),
            // With a key exchange.
            extension::PSK_KEY_EXCHANGE_MODES => is(&[1, 1]),
            extension::SIGNATURE_ALGORITHMS => {
                self.schemes = whole_list(&mut body, &offer.schemes).unwrap_or_default();
                (!self.schemes.is_empty()).then_some(())
            }
            extension::PROTOCOLS => {
                self.protocols = protocols(body).unwrap_or_default();
                (!self.protocols.is_empty()).then_some(())
            }
            extension::SUPPORTED_VERSIONS => {
                let versions = body.vector8();
                let versions = versions.and_then(|list| subset(list, &[TLS13, TLS12]));
                let has_tls12 = versions.is_some_and(|list| list.contains(&TLS12));
                body.end().filter(|()| has_tls12)
            }
            extension::KEY_SHARE => self.key_shares(body),
            _ => None,
        }
        .ok_or(extension::name(number))
    }

    fn key_shares(&self, mut body: ByteReader<'_>) -> Option<()> {
        let mut shares = body.vector16()?;
        body.end()?;
        let mut groups = Vec::new();
        while !shares.is_empty() {
            let group = shares.u16()?;
            let share = shares.vector16()?.rest();
            let is_offered = self.groups.contains(&group) && !groups.contains(&group);
            if !is_offered || !share_is_well_formed(group, share) {
                return None;
            }
            groups.push(group);
        }
        (1..=MAX_KEY_SHARES).contains(&groups.len()).then_some(())
    }
}

/// A list of distinct numbers, each of which is allowed.
fn subset(list: ByteReader<'_>, allowed: &[u16]) -> Option<Vec<u16>> {
    let numbers = list.distinct_numbers()?;
    let are_allowed = numbers.iter().all(|number| allowed.contains(number));
    are_allowed.then_some(numbers)
}

/// The same as the whole of an extension.
fn whole_list(body: &mut ByteReader<'_>, allowed: &[u16]) -> Option<Vec<u16>> {
    let list = body.vector16()?;
    body.end()?;
    subset(list, allowed)
}

/// The one host name of `server_name` (RFC 6066, section 3).
fn host_name(mut body: ByteReader<'_>) -> Option<&str> {
    let mut names = body.vector16()?;
    body.end()?;
    if names.u8()? != 0 {
        return None;
    }
    let name = names.vector16()?.rest();
    names.end()?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let is_name = (1..=MAX_HOST_NAME).contains(&name.len()) && name.iter().all(is_plain);
    is_name.then(|| std::str::from_utf8(name).ok()).flatten()
}

/// The protocols of ALPN: those that our client speaks, each once.
fn protocols(mut body: ByteReader<'_>) -> Option<Vec<&[u8]>> {
    let mut list = body.vector16()?;
    body.end()?;
    let mut found = Vec::new();
    while !list.is_empty() {
        let protocol = list.vector8()?.rest();
        let is_ours = [&b"h2"[..], b"http/1.1"].contains(&protocol);
        if !is_ours || found.contains(&protocol) {
            return None;
        }
        found.push(protocol);
    }
    Some(found)
}
