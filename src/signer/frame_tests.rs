//! Frames there and back, and what is no frame.

use proptest::prelude::*;

use super::*;

fn frame(message: &[u8]) -> SignFrame<'_> {
    SignFrame {
        key: [0xcc; 32],
        purpose: Purpose::Tls13ClientAuth,
        scheme: Scheme::RsaPssSha256,
        deadline: Duration::from_nanos(1_234_567_890_123),
        peer: Some("cm.mybank.preprod.apihub.openfinance.ae:443"),
        interaction_id: Some("6f1d9e0c-9a44-4d0b-8c2f-0f6f6f0f6f6f"),
        message,
    }
}

fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = vec![0xff; 3];
    encode_request(&mut bytes, 7, request);
    bytes
}

#[test]
fn a_request_is_read_as_it_was_written() {
    for request in [
        Request::Describe,
        Request::Health,
        Request::Sign(frame(b"message")),
        Request::Sign(SignFrame {
            peer: None,
            interaction_id: None,
            ..frame(b"")
        }),
    ] {
        let bytes = encoded(&request);
        assert_eq!(decode_request(&bytes), Ok((7, request)));
    }
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    for answer in [
        Answer::Described(b"{}"),
        Answer::Signed(&[1, 2, 3]),
        Answer::Failed(b"{}"),
        Answer::Health(b"{}"),
        Answer::Gone("signal 11"),
    ] {
        let mut bytes = Vec::new();
        encode_answer(&mut bytes, 9, &answer);
        assert_eq!(decode_answer(&bytes), Ok((9, answer)));
    }
}

#[test]
fn each_scheme_and_purpose_has_a_code_of_its_own() {
    for scheme in Scheme::ALL {
        assert_eq!(scheme_of(scheme_code(scheme)), Some(scheme));
    }
    for (_, purpose) in PURPOSES {
        assert_eq!(purpose_of(purpose_code(purpose)), Some(purpose));
    }
    assert_eq!(purpose_of(0), None);
}

#[test]
fn what_is_cut_or_lengthened_is_refused() {
    let whole = encoded(&Request::Sign(frame(b"message")));
    for length in 0..whole.len() {
        let bad = decode_request(&whole[..length]).expect_err("a part");
        assert_eq!(bad.1, BadFrame::Short, "{length}");
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(decode_request(&longer), Err((Some(7), BadFrame::Long)));
    for question in [Request::Describe, Request::Health] {
        let whole = encoded(&question);
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(decode_request(&longer), Err((Some(7), BadFrame::Long)));
        for length in 0..whole.len() {
            let bad = decode_request(&whole[..length]).expect_err("a part");
            assert_eq!(bad, (None, BadFrame::Short), "{length}");
        }
    }
    // The kind behind the last, and an answer's in place of a question's.
    for kind in [4, 0x84] {
        let mut unknown = encoded(&Request::Health);
        unknown[1] = kind;
        assert_eq!(
            decode_request(&unknown),
            Err((Some(7), BadFrame::Kind(kind)))
        );
    }
}

#[test]
fn what_the_ledger_would_be_told_is_short_and_plain() {
    for peer in ["a b", "a\n", "a\u{7f}", "bänk", &"x".repeat(300)] {
        let request = Request::Sign(SignFrame {
            peer: Some(peer),
            ..frame(b"")
        });
        let bytes = encoded(&request);
        assert_eq!(decode_request(&bytes), Err((Some(7), BadFrame::Text)));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
        let _ = decode_answer(&bytes);
    }

    #[test]
    fn a_damaged_request_does_not_panic(at in 0_usize..130, with in any::<u8>()) {
        let mut bytes = encoded(&Request::Sign(frame(b"message")));
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = decode_request(&bytes);
    }
}
