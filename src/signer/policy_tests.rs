//! What is signed and what is not, by purpose. What real handshakes are over is in tests/signer.rs.

use super::*;

// Written once more: what is signed is pinned here.
const TLS13_CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
const TLS13_SPACES: [u8; 64] = [0x20; 64];
const KEY: [u8; 32] = [7; 32];

fn frame(purpose: Purpose, message: &[u8]) -> SignFrame<'_> {
    SignFrame {
        key: KEY,
        purpose,
        scheme: Scheme::RsaPssSha256,
        deadline: Duration::from_secs(1),
        peer: None,
        interaction_id: None,
        message,
    }
}

fn policy() -> Policy {
    Policy::new(KEY, &[Scheme::RsaPssSha256, Scheme::RsaPkcs1Sha256], 10)
}

fn says(purpose: Purpose, message: &[u8]) -> Result<(), Refusal> {
    policy().permits(&frame(purpose, message), Instant::now())
}

fn tls13(context: &[u8], hash: usize) -> Vec<u8> {
    [&TLS13_SPACES[..], context, &vec![7; hash]].concat()
}

fn handshake(kinds: &[u8]) -> Vec<u8> {
    kinds
        .iter()
        .flat_map(|kind| [*kind, 0, 0, 3, 3, 3, 9])
        .collect()
}

#[test]
fn a_clients_certificate_verify_is_signed_and_a_servers_is_not() {
    let purpose = Purpose::Tls13ClientAuth;
    assert_eq!(says(purpose, &tls13(TLS13_CONTEXT, 32)), Ok(()));
    assert_eq!(says(purpose, &tls13(TLS13_CONTEXT, 48)), Ok(()));
    let server = b"TLS 1.3, server CertificateVerify\0";
    for no in [
        tls13(server, 32),
        tls13(TLS13_CONTEXT, 31),
        tls13(TLS13_CONTEXT, 64),
        tls13(TLS13_CONTEXT, 0),
        vec![7; 32],
        Vec::new(),
        tls13(TLS13_CONTEXT, 32)[1..].to_vec(),
    ] {
        assert_eq!(says(purpose, &no), Err(Refusal::NoTls13ClientAuth));
    }
}

#[test]
fn a_handshake_of_tls12_is_signed_when_it_is_whole() {
    let purpose = Purpose::Tls12ClientAuth;
    for yes in [
        &[1, 2, 11, 12, 13, 14, 11, 16][..],
        &[1, 2, 11, 22, 12, 13, 14, 11, 16],
        &[1, 2, 11, 13, 14, 11, 16],
    ] {
        assert_eq!(says(purpose, &handshake(yes)), Ok(()), "{yes:?}");
    }
    for no in [
        &[][..],
        &[1],
        &[2, 11, 12, 13, 14, 11, 16],
        &[1, 2, 11, 12, 14, 11, 16],
        &[1, 2, 11, 12, 13, 14, 11],
        &[1, 2, 11, 12, 13, 14, 11, 16, 15],
        &[1, 1, 2, 11, 12, 13, 14, 11, 16],
    ] {
        let refused = Err(Refusal::NoTls12ClientAuth);
        assert_eq!(says(purpose, &handshake(no)), refused, "{no:?}");
    }
    let whole = handshake(&[1, 2, 11, 12, 13, 14, 11, 16]);
    for cut in 1..7 {
        let refused = Err(Refusal::NoTls12ClientAuth);
        assert_eq!(says(purpose, &whole[..whole.len() - cut]), refused);
    }
    let mut older = whole;
    older[5] = 2;
    assert_eq!(says(purpose, &older), Err(Refusal::NoTls12ClientAuth));
}

#[test]
fn a_message_of_one_purpose_is_refused_for_every_other() {
    let tls13 = tls13(TLS13_CONTEXT, 32);
    let tls12 = handshake(&[1, 2, 11, 12, 13, 14, 11, 16]);
    let digest = [0x5a; 32];
    for (purpose, refusal, others) in [
        (
            Purpose::Tls13ClientAuth,
            Refusal::NoTls13ClientAuth,
            [&tls12[..], &digest],
        ),
        (
            Purpose::Tls12ClientAuth,
            Refusal::NoTls12ClientAuth,
            [&tls13[..], &digest],
        ),
        (Purpose::Proof, Refusal::NoProof, [&tls13[..], &tls12]),
    ] {
        for other in others {
            assert_eq!(says(purpose, other), Err(refusal));
        }
    }
    for purpose in [Purpose::Csr, Purpose::SelfTest] {
        assert_eq!(says(purpose, &tls13), Err(Refusal::Purpose(purpose)));
    }
}

#[test]
fn schemes_that_are_not_the_keys_or_not_of_the_version_are_refused() {
    let message = tls13(TLS13_CONTEXT, 32);
    let with = |scheme| {
        let frame = SignFrame {
            scheme,
            ..frame(Purpose::Tls13ClientAuth, &message)
        };
        policy().permits(&frame, Instant::now())
    };
    let p256 = Scheme::EcdsaP256Sha256;
    assert_eq!(with(p256), Err(Refusal::Scheme(p256)));
    let pkcs1 = Scheme::RsaPkcs1Sha256;
    assert_eq!(with(pkcs1), Err(Refusal::NotOfTls13(pkcs1)));
}

#[test]
fn another_key_is_refused() {
    let message = tls13(TLS13_CONTEXT, 32);
    let other = SignFrame {
        key: [8; 32],
        ..frame(Purpose::Tls13ClientAuth, &message)
    };
    assert_eq!(policy().permits(&other, Instant::now()), Err(Refusal::Key));
}

#[test]
fn more_than_the_rate_is_refused_until_it_has_passed() {
    let message = tls13(TLS13_CONTEXT, 32);
    let frame = frame(Purpose::Tls13ClientAuth, &message);
    let mut policy = policy();
    let now = Instant::now();
    for _ in 0..10 {
        assert_eq!(policy.permits(&frame, now), Ok(()));
    }
    assert_eq!(policy.permits(&frame, now), Err(Refusal::Rate(10)));
    let later = now + Duration::from_millis(150);
    assert_eq!(policy.permits(&frame, later), Ok(()));
    assert_eq!(policy.permits(&frame, later), Err(Refusal::Rate(10)));
}
