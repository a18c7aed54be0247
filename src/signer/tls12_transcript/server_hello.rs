//! The ServerHello (RFC 5246, section 7.4.1.3): an answer to this ClientHello, and nothing that was not asked for.

use super::byte_reader::ByteReader;
use super::client_hello::{ClientHello, TLS12};
use super::extension::{self, Extensions};
use crate::tls::hub_verifier::Offer;

/// A ServerHello.
#[derive(Debug)]
pub(super) struct ServerHello<'a> {
    pub(super) random: &'a [u8],
    /// The signature schemes of the chosen cipher suite.
    pub(super) schemes: Vec<u16>,
    /// A CertificateStatus may follow.
    pub(super) has_status: bool,
}

impl<'a> ServerHello<'a> {
    /// The error is the field that is wrong.
    pub(super) fn parse(
        body: &'a [u8],
        hello: &ClientHello<'_>,
        offer: &Offer,
    ) -> Result<Self, &'static str> {
        let mut reader = ByteReader::new(body);
        if reader.u16() != Some(TLS12) {
            return Err("version");
        }
        let random = reader.bytes(32).ok_or("random")?;
        let session_id = reader.vector8().ok_or("session_id")?.rest();
        if session_id.len() > 32 {
            return Err("session_id");
        }
        let suite = reader.u16().filter(|suite| hello.suites.contains(suite));
        let schemes = suite.and_then(|suite| offer.tls12_schemes(suite));
        let schemes = schemes.ok_or("cipher_suite")?.to_vec();
        if reader.u8() != Some(0) {
            return Err("compression_method");
        }
        let mut extensions = None;
        // Without any extension the list is left out.
        if !reader.is_empty() {
            let list = reader.vector16().and_then(Extensions::parse);
            extensions = Some(list.ok_or("extensions")?);
        }
        reader.end().ok_or("end")?;
        for (number, body) in extensions.iter().flat_map(Extensions::iter) {
            check_extension(number, body, hello).ok_or(extension::name(number))?;
        }
        let status = extensions.and_then(|list| list.find(extension::STATUS_REQUEST));
        Ok(Self {
            random,
            schemes,
            has_status: status.is_some(),
        })
    }
}

fn check_extension(number: u16, mut body: ByteReader<'_>, hello: &ClientHello<'_>) -> Option<()> {
    // The suite SCSV asks for this one.
    let is_answer = number == extension::RENEGOTIATION_INFO || hello.extensions.contains(&number);
    if !is_answer {
        return None;
    }
    match number {
        extension::SERVER_NAME | extension::STATUS_REQUEST | extension::EXTENDED_MASTER_SECRET => {
            body.end()
        }
        // Of a first handshake.
        extension::RENEGOTIATION_INFO => (body.rest() == [0]).then_some(()),
        extension::EC_POINT_FORMATS => {
            let formats = body.vector8()?.rest();
            body.end()?;
            let are_known = formats.len() <= 3 && formats.iter().all(|format| *format <= 2);
            (are_known && formats.contains(&0)).then_some(())
        }
        extension::PROTOCOLS => {
            let mut list = body.vector16()?;
            let protocol = list.vector8()?.rest();
            let is_whole = list.is_empty() && body.is_empty();
            (is_whole && hello.protocols.contains(&protocol)).then_some(())
        }
        _ => None,
    }
}
