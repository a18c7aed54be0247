//! Whether a ClientHello offers a session: rustls says neither that it was given a ticket which had ended, nor that it sent none.

/// Extension pre_shared_key (RFC 8446, section 4.2.11).
const PRE_SHARED_KEY: [u8; 2] = 41_u16.to_be_bytes();

/// Whether the ClientHello at the beginning of what was sent has the extension pre_shared_key (RFC 8446, sections 4.1.2 and 5.1).
/// `None`: this is no whole ClientHello.
pub(super) fn has_pre_shared_key(sent: &[u8]) -> Option<bool> {
    let mut sent = Reader(sent);
    // A record of type handshake, of any version.
    sent.expect(&[22])?;
    sent.take(2)?;
    let mut record = Reader(sent.vector(2)?);
    record.expect(&[1])?;
    let mut hello = Reader(record.vector(3)?);
    // legacy_version and random; then legacy_session_id, cipher_suites and legacy_compression_methods.
    hello.take(2 + 32)?;
    for length_bytes in [1, 2, 1] {
        hello.vector(length_bytes)?;
    }
    let mut extensions = Reader(hello.vector(2)?);
    while !extensions.0.is_empty() {
        let extension = extensions.take(2)?;
        extensions.vector(2)?;
        if extension == PRE_SHARED_KEY {
            return Some(true);
        }
    }
    Some(false)
}

/// The part that is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn expect(&mut self, bytes: &[u8]) -> Option<()> {
        (self.take(bytes.len())? == bytes).then_some(())
    }

    /// A vector with its length before it.
    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(length_bytes)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions, each of one byte.
    fn hello(extensions: &[u16]) -> Vec<u8> {
        let extensions = extensions.iter().flat_map(|extension| {
            let [high, low] = extension.to_be_bytes();
            [high, low, 0, 1, 7]
        });
        let extensions: Vec<u8> = extensions.collect();
        let mut body = vec![3; 34];
        body.extend([2, 9, 9, 0, 2, 19, 2, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut record = vec![1, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        let mut sent = vec![22, 3, 1];
        sent.extend((record.len() as u16).to_be_bytes());
        sent.extend(record);
        sent
    }

    #[test]
    fn the_extension_is_found_where_it_is() {
        for (extensions, found) in [
            (&[][..], false),
            (&[0, 43, 51], false),
            (&[0, 43, 51, 41], true),
            // Its number as the content of another, or with one of its bytes.
            (&[10496, 297], false),
        ] {
            let mut sent = hello(extensions);
            assert_eq!(has_pre_shared_key(&sent), Some(found), "{extensions:?}");
            // What follows does not matter, and a hello that is cut off is none.
            let length = sent.len();
            sent.extend(b"more");
            assert_eq!(has_pre_shared_key(&sent), Some(found));
            for cut in 0..length {
                assert_eq!(has_pre_shared_key(&sent[..cut]), None);
            }
        }
    }
}
