//! Reads a CRL in place: a list of a million entries is a few dozen megabytes, and would be many times that as parsed entries.

use der::asn1::{Any, BitString, ContextSpecific};
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};
use spki::AlgorithmIdentifier;
use x509_cert::ext::Extensions;
use x509_cert::name::Name;
use x509_cert::time::Time;

/// The fields of a CertificateList.
pub(super) struct Parts<'a> {
    pub(super) issuer: Name,
    pub(super) this_update: Time,
    pub(super) next_update: Option<Time>,
    /// The content of revokedCertificates.
    pub(super) revoked: &'a [u8],
    pub(super) extensions: Extensions,
    pub(super) algorithm: AlgorithmIdentifier<Any>,
    pub(super) signature: BitString,
}

impl<'a> Parts<'a> {
    /// Reads a whole CertificateList, and leaves its entries as they are.
    pub(super) fn decode(der: &'a [u8]) -> der::Result<Self> {
        let mut whole = SliceReader::new(der)?;
        let mut list = SliceReader::new(element(&mut whole, Tag::Sequence)?)?;
        whole.finish()?;
        let mut signed = SliceReader::new(element(&mut list, Tag::Sequence)?)?;
        let algorithm = AlgorithmIdentifier::decode(&mut list)?;
        let signature = BitString::decode(&mut list)?;
        list.finish()?;
        let list = &mut signed;
        // The version: one without is of version 1, which has no extensions.
        element(list, Tag::Integer)?;
        // The signature algorithm once more.
        list.tlv_bytes()?;
        let issuer = Name::decode(list)?;
        let this_update = Time::decode(list)?;
        let has = |list: &SliceReader<'a>, tags: &[Tag]| {
            !list.is_finished() && Tag::peek(list).is_ok_and(|tag| tags.contains(&tag))
        };
        let next_update = match has(list, &[Tag::UtcTime, Tag::GeneralizedTime]) {
            true => Some(Time::decode(list)?),
            false => None,
        };
        let revoked = match has(list, &[Tag::Sequence]) {
            true => element(list, Tag::Sequence)?,
            false => &[],
        };
        let extensions = ContextSpecific::<Extensions>::decode_explicit(list, TagNumber(0))?;
        signed.finish()?;
        Ok(Self {
            algorithm,
            signature,
            issuer,
            this_update,
            next_update,
            revoked,
            extensions: extensions.map(|field| field.value).unwrap_or_default(),
        })
    }

    /// The number of entries.
    ///
    /// # Errors
    /// An entry is damaged.
    pub(super) fn count_entries(&self) -> der::Result<usize> {
        entries(self.revoked).try_fold(0, |count, entry| entry.map(|_| count + 1))
    }
}

/// The content of the next element, which has this tag.
fn element<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    header.tag().assert_eq(tag)?;
    reader.read_slice(header.length())
}

/// Each entry of revokedCertificates: the serial number with tag and length, and what follows it.
pub(super) fn entries(revoked: &[u8]) -> impl Iterator<Item = der::Result<(&[u8], &[u8])>> {
    let mut rest = revoked;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = || {
            let mut reader = SliceReader::new(rest)?;
            let entry = element(&mut reader, Tag::Sequence)?;
            let read = usize::try_from(reader.position())?;
            let mut inner = SliceReader::new(entry)?;
            Tag::peek(&inner)?.assert_eq(Tag::Integer)?;
            let serial = inner.tlv_bytes()?;
            Ok((read, serial, &entry[serial.len()..]))
        };
        match read() {
            Ok((read, serial, further)) => {
                rest = &rest[read..];
                Some(Ok((serial, further)))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

/// The bytes of an INTEGER without tag, length and zeros that its sign does not need. Positive ones are in the order of their
/// lengths, then of their bytes.
pub(super) fn significant(integer: &[u8]) -> &[u8] {
    let content = |mut reader| element(&mut reader, Tag::Integer);
    let mut bytes = SliceReader::new(integer)
        .and_then(content)
        .unwrap_or_default();
    while let [0, 0..0x80, ..] = bytes {
        bytes = &bytes[1..];
    }
    bytes
}
