//! Converts ECDSA signatures from r‖s, the form of PKCS#11, to DER (ECDSA-Sig-Value), the form of TLS.
//!
//! A DER integer has no unneeded leading zero byte, and a positive one has no set top bit. An encoder that ignores the first
//! rule fails one handshake in 256, one that ignores the second every other.

use der::Decode;
use der::asn1::UintRef;
use thiserror::Error;

/// C_Sign returned bytes in no known form of an ECDSA signature.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the token answered {len} bytes, which is no ECDSA signature of two numbers of {field_len} bytes"
)]
pub struct InvalidEcdsaSignature {
    /// How many bytes were returned.
    pub len: usize,
    /// The expected length of r and of s.
    pub field_len: usize,
}

#[derive(der::Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// Encodes the ECDSA signature that C_Sign returned as ECDSA-Sig-Value (RFC 3279, section 2.2.3).
///
/// PKCS#11 specifies r and s at full length, one after the other (3.1, section 6.3.1). Some modules return shorter
/// halves, and some return DER; both are accepted, since each signature is verified afterwards.
///
/// # Errors
/// The bytes have none of these forms.
pub fn ecdsa_der(raw: &[u8], field_len: usize) -> Result<Vec<u8>, InvalidEcdsaSignature> {
    let wrong = InvalidEcdsaSignature {
        len: raw.len(),
        field_len,
    };
    if raw.len() != 2 * field_len
        && let Ok(value) = EcdsaSigValue::from_der(raw)
        && value.r.as_bytes().len() <= field_len
        && value.s.as_bytes().len() <= field_len
    {
        return Ok(sequence(value.r.as_bytes(), value.s.as_bytes()));
    }
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 2 * field_len {
        return Err(wrong);
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    Ok(sequence(r, s))
}

fn sequence(r: &[u8], s: &[u8]) -> Vec<u8> {
    let body = [integer(r), integer(s)].concat();
    tagged(0x30, &body)
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let digits = &magnitude[zeros..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    // The top bit is the sign, and the number zero is one zero byte.
    if digits.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    tagged(0x02, &content)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    // A P-521 signature has up to 139 bytes, and a length above 127 takes a second byte. The length never exceeds 255,
    // since the longest input has 2 x 66 bytes.
    if content.len() > 127 {
        out.push(0x81);
    }
    out.push(content.len() as u8);
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leading_zero_of_either_number_is_stripped() {
        let mut raw = [0x11; 64];
        raw[0] = 0;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(der[..4], [0x30, 2 + 31 + 2 + 32, 0x02, 31]);

        let mut raw = [0x11; 64];
        raw[32] = 0;
        raw[33] = 0;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(der[2..4], [0x02, 32]);
        assert_eq!(der[36..38], [0x02, 30]);
    }

    #[test]
    fn a_top_bit_gets_a_sign_byte_also_after_zeros() {
        let mut raw = [0x11; 64];
        raw[0] = 0;
        raw[1] = 0x80;
        raw[32] = 0xff;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(der[2..6], [0x02, 32, 0x00, 0x80]);
        assert_eq!(der[36..40], [0x02, 33, 0x00, 0xff]);
    }

    #[test]
    fn p521_takes_the_long_form_of_the_length() {
        let mut raw = [0x11; 132];
        raw[0] = 0x01;
        raw[66] = 0x01;
        let der = ecdsa_der(&raw, 66).unwrap();
        assert_eq!(der[..5], [0x30, 0x81, 136, 0x02, 66]);
        assert_eq!(der.len(), 139);
        assert!(EcdsaSigValue::from_der(&der).is_ok());
    }

    #[test]
    fn der_and_short_halves_are_accepted_and_garbage_is_not() {
        let raw = [0x11; 64];
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(ecdsa_der(&der, 32).unwrap(), der);
        let short = ecdsa_der(&[0x11; 62], 32).unwrap();
        assert_eq!(short[3], 31);
        for garbage in [&[][..], &[1][..], &[1; 63][..], &[1; 66][..]] {
            assert!(ecdsa_der(garbage, 32).is_err(), "{}", garbage.len());
        }
    }

    proptest! {
        /// The der crate refuses integers that are not minimal, so reading back proves both the
        /// encoding and the value.
        #[test]
        fn any_two_numbers_survive(raw in proptest::collection::vec(any::<u8>(), 132), zeros in 0..67_usize) {
            let mut raw = raw;
            raw[..zeros].fill(0);
            let der = ecdsa_der(&raw, 66).unwrap();
            let value = EcdsaSigValue::from_der(&der).unwrap();
            let stripped = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|b| **b == 0).count().min(bytes.len() - 1);
                bytes[zeros..].to_vec()
            };
            prop_assert_eq!(value.r.as_bytes(), stripped(&raw[..66]));
            prop_assert_eq!(value.s.as_bytes(), stripped(&raw[66..]));
        }

        /// A module may return DER. If that is exactly as long as r and s, which happens once in billions of
        /// signatures, it is read as r and s: it does not verify then, and is discarded.
        #[test]
        fn der_goes_through_unchanged(
            field_len in proptest::sample::select(vec![32_usize, 48, 66]),
            raw in proptest::collection::vec(any::<u8>(), 132),
            zeros in 0..5_usize,
        ) {
            let mut raw = raw[..2 * field_len].to_vec();
            raw[..zeros].fill(0);
            let der = ecdsa_der(&raw, field_len).unwrap();
            prop_assume!(der.len() != 2 * field_len);
            prop_assert_eq!(ecdsa_der(&der, field_len), Ok(der));
        }

        /// Whatever is made of damaged DER can be decoded.
        #[test]
        fn damaged_der_is_refused_or_becomes_der(
            field_len in proptest::sample::select(vec![32_usize, 48, 66]),
            raw in proptest::collection::vec(any::<u8>(), 132),
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
            cut in 0..3_usize,
        ) {
            let mut answer = ecdsa_der(&raw[..2 * field_len], field_len).unwrap();
            for (at, byte) in edits {
                *at.get_mut(&mut answer) = byte;
            }
            answer.truncate(answer.len() - cut);
            if let Ok(der) = ecdsa_der(&answer, field_len) {
                prop_assert!(EcdsaSigValue::from_der(&der).is_ok(), "{:02x?}", der);
            }
        }

        #[test]
        fn no_answer_panics(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            for field_len in [32, 48, 66] {
                let _ = ecdsa_der(&answer, field_len);
            }
        }
    }
}
