//! No bytes make the parser panic, and of all changes to recorded handshakes it accepts those only that leave each length
//! and each offer as they are. What is verified beyond the form is tested with a signer process (`tests/signer`).

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Of our TLS client with `openssl s_server`: P-256 with a stapled OCSP response, and RSA.
const RECORDED: [&[u8]; 2] = [
    include_bytes!("tls12_transcript/p256_stapled.bin"),
    include_bytes!("tls12_transcript/rsa.bin"),
];

fn parses(bytes: &[u8]) -> bool {
    Transcript::parse(bytes, &Offer::default()).is_ok()
}

#[test]
fn recorded_handshakes_are_parsed() {
    for (recorded, scheme) in RECORDED.into_iter().zip([0x0503, 0x0806]) {
        let parsed = Transcript::parse(recorded, &Offer::default()).unwrap();
        assert_eq!(parsed.server_name, Some("localhost"));
        assert_eq!(parsed.server_scheme, scheme);
        assert_eq!(parsed.server_chain.len(), 2);
        assert_eq!(parsed.client_chain.len(), 2);
        assert!(parsed.client_schemes.contains(&0x0804));
        // Both randoms, the curve, and a key of X25519.
        assert_eq!(parsed.server_signed.len(), 64 + 4 + 32);
        assert_eq!(parsed.server_signed[..32], recorded[6..38]);
    }
}

#[test]
fn a_byte_more_or_less_anywhere_is_refused() {
    let [recorded, _] = RECORDED;
    for at in 0..recorded.len() {
        assert!(!parses(&recorded[..at]), "cut at {at}");
        assert!(!parses(&recorded[at + 1..]), "begun at {at}");
        let without = [&recorded[..at], &recorded[at + 1..]].concat();
        assert!(!parses(&without), "without {at}");
        let twice = [&recorded[..=at], &recorded[at..]].concat();
        assert!(!parses(&twice), "{at} twice");
    }
}

/// A message that is made longer or shorter, its own length with it.
#[test]
fn a_byte_more_or_less_in_a_message_is_refused() {
    let [recorded, _] = RECORDED;
    let mut at = 0;
    while at < recorded.len() {
        let length = &recorded[at + 1..at + 4];
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
        let (body, end) = (at + 4, at + 4 + length as usize);
        let with_length = |length: u32, content: &[&[u8]]| {
            let length = &length.to_be_bytes()[1..];
            [
                &recorded[..=at],
                length,
                &content.concat(),
                &recorded[end..],
            ]
            .concat()
        };
        for cut in body..end {
            let content = [&recorded[body..cut], &recorded[cut + 1..end]];
            assert!(!parses(&with_length(length - 1, &content)), "without {cut}");
        }
        for cut in body..=end {
            let content = [&recorded[body..cut], &[0], &recorded[cut..end]];
            assert!(!parses(&with_length(length + 1, &content)), "more at {cut}");
        }
        at = end;
    }
}

#[test]
fn what_was_not_offered_is_refused() {
    for recorded in RECORDED {
        for narrow in [
            |offer: &mut Offer| offer.groups.retain(|group| *group != 29),
            |offer: &mut Offer| offer.schemes.clear(),
            |offer: &mut Offer| offer.suites.truncate(1),
        ] {
            let mut offer = Offer::default();
            narrow(&mut offer);
            assert!(Transcript::parse(recorded, &offer).is_err());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(!parses(&bytes));
    }

    /// With a message's head, so that more is read of them.
    #[test]
    fn any_messages_are_refused(bodies in vec(vec(any::<u8>(), 0..200), 9)) {
        let types = [1, 2, 11, 22, 12, 13, 14, 11, 16];
        let message = |(number, body): (u8, &Vec<u8>)| {
            let length = (body.len() as u32).to_be_bytes();
            [&[number][..], &length[1..], body].concat()
        };
        let all: Vec<u8> = types.into_iter().zip(&bodies).flat_map(message).collect();
        prop_assert!(!parses(&all));
    }

    /// No panic, whatever is overwritten.
    #[test]
    fn a_handshake_with_something_overwritten_is_parsed_or_refused(
        which in 0..RECORDED.len(),
        at in any::<prop::sample::Index>(),
        bytes in vec(any::<u8>(), 1..60),
    ) {
        let mut changed = RECORDED[which].to_vec();
        let at = at.index(changed.len());
        for (place, byte) in changed[at..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        let _ = parses(&changed);
    }
}
