//! Encoding and decoding of frames, and frames that are refused.

use proptest::prelude::*;

use super::*;

const PEER: Peer<'_> = Peer {
    name: Some("cm.mybank.preprod.apihub.openfinance.ae:443"),
    interaction_id: Some("6f1d9e0c-9a44-4d0b-8c2f-0f6f6f0f6f6f"),
};

fn sign<'a>(message: &'a [u8], peer: Peer<'a>) -> Request<'a> {
    let request = SignRequest {
        purpose: Purpose::Tls13ClientAuth,
        scheme: Scheme::RsaPssSha256,
        deadline: Instant::now() + Duration::from_secs(60),
        peer,
        message,
    };
    Request::Sign {
        spki: Fingerprint([0xcc; 32]),
        request,
    }
}

fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = vec![0xff; 3];
    encode_request(&mut bytes, 7, request);
    bytes
}

#[test]
fn a_request_survives_encoding() {
    for request in [Request::Describe, Request::Health] {
        let bytes = encoded(&request);
        assert_eq!(decode_request(&bytes), Ok((7, request)));
    }
    for encoded_request in [sign(b"message", PEER), sign(b"", Peer::default())] {
        let bytes = encoded(&encoded_request);
        let (id, mut decoded) = decode_request(&bytes).unwrap();
        let (
            Request::Sign {
                request: before, ..
            },
            Request::Sign { request, .. },
        ) = (&encoded_request, &mut decoded)
        else {
            panic!("{decoded:?}");
        };
        // The clock was read twice in between.
        let difference = request.deadline.saturating_duration_since(before.deadline)
            + before.deadline.saturating_duration_since(request.deadline);
        assert!(difference < Duration::from_secs(1), "{difference:?}");
        request.deadline = before.deadline;
        assert_eq!((id, decoded), (7, encoded_request));
    }
}

#[test]
fn a_response_survives_encoding() {
    for response in [
        Response::Described(b"{}"),
        Response::Signed(&[1, 2, 3]),
        Response::Failed(b"{}"),
        Response::Health(b"{}"),
        Response::SignerEnded("signal 11"),
    ] {
        let mut bytes = Vec::new();
        encode_response(&mut bytes, 9, &response);
        assert_eq!(decode_response(&bytes), Ok((9, response)));
    }
}

#[test]
fn each_scheme_and_purpose_has_a_code_of_its_own() {
    for scheme in Scheme::ALL {
        assert_eq!(scheme_of(scheme.number()), Some(scheme));
    }
    for (_, purpose) in PURPOSES {
        assert_eq!(purpose_of(purpose_code(purpose)), Some(purpose));
    }
    assert_eq!(purpose_of(0), None);
}

#[test]
fn frames_of_the_wrong_length_are_refused() {
    let whole = encoded(&sign(b"message", PEER));
    for length in 0..whole.len() {
        let error = decode_request(&whole[..length]).expect_err("a part");
        assert_eq!(error.1, FrameError::Short, "{length}");
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(decode_request(&longer), Err((Some(7), FrameError::Long)));
    for request in [Request::Describe, Request::Health] {
        let whole = encoded(&request);
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(decode_request(&longer), Err((Some(7), FrameError::Long)));
        for length in 0..whole.len() {
            let error = decode_request(&whole[..length]).expect_err("a part");
            assert_eq!(error, (None, FrameError::Short), "{length}");
        }
    }
    // The first unused type of requests, and a type of responses.
    for frame_type in [4, 0x84] {
        let mut unknown = encoded(&Request::Health);
        unknown[1] = frame_type;
        assert_eq!(
            decode_request(&unknown),
            Err((Some(7), FrameError::Kind(frame_type)))
        );
    }
}

#[test]
fn a_peer_with_other_characters_or_too_long_is_refused() {
    for peer in ["a b", "a\n", "a\u{7f}", "bänk", &"x".repeat(300)] {
        let request = sign(
            b"",
            Peer {
                name: Some(peer),
                ..PEER
            },
        );
        let bytes = encoded(&request);
        assert_eq!(decode_request(&bytes), Err((Some(7), FrameError::Text)));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
        let _ = decode_response(&bytes);
    }

    #[test]
    fn a_damaged_request_does_not_panic(at in 0_usize..130, byte in any::<u8>()) {
        let mut bytes = encoded(&sign(b"message", PEER));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode_request(&bytes);
    }
}
