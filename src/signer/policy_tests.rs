//! Which messages are accepted for which purpose. The integration tests of the signer make real handshakes.

use std::time::Duration;

use super::*;
use crate::config::signature_rate::SignatureRate;
use crate::engine::Peer;

// Repeated here, so that a change in the engine fails these tests.
const TLS13_CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
const TLS13_SPACES: [u8; 64] = [0x20; 64];
const KEY: Fingerprint = Fingerprint([7; 32]);

fn request(purpose: Purpose, message: &[u8]) -> SignRequest<'_> {
    SignRequest {
        purpose,
        scheme: Scheme::RsaPssSha256,
        deadline: Instant::now(),
        peer: Peer::default(),
        message,
    }
}

fn limit(signatures: u32, time: Duration, burst: u32) -> SignatureLimit {
    SignatureLimit {
        per_second: SignatureRate::of(signatures, time),
        burst,
    }
}

fn policy() -> SigningPolicy {
    policy_with(limit(10, Duration::from_secs(1), 10))
}

fn policy_with(limit: SignatureLimit) -> SigningPolicy {
    let schemes = [Scheme::RsaPssSha256, Scheme::RsaPkcs1Sha256];
    SigningPolicy::new(
        KEY,
        &schemes,
        limit,
        KeyUse::ClientAuth(Box::new(Tls12Policy::unavailable("no list"))),
    )
}

fn check(purpose: Purpose, message: &[u8]) -> Result<(), Refusal> {
    policy().check(KEY, &request(purpose, message), Instant::now())
}

fn tls13(context: &[u8], hash: usize) -> Vec<u8> {
    [&TLS13_SPACES[..], context, &vec![7; hash]].concat()
}

#[test]
fn a_clients_certificate_verify_is_signed_and_a_servers_is_not() {
    let purpose = Purpose::Tls13ClientAuth;
    assert_eq!(check(purpose, &tls13(TLS13_CONTEXT, 32)), Ok(()));
    assert_eq!(check(purpose, &tls13(TLS13_CONTEXT, 48)), Ok(()));
    let server = b"TLS 1.3, server CertificateVerify\0";
    for rejected in [
        tls13(server, 32),
        tls13(TLS13_CONTEXT, 31),
        tls13(TLS13_CONTEXT, 64),
        tls13(TLS13_CONTEXT, 0),
        vec![7; 32],
        Vec::new(),
        tls13(TLS13_CONTEXT, 32)[1..].to_vec(),
    ] {
        assert_eq!(check(purpose, &rejected), Err(Refusal::NoTls13ClientAuth));
    }
}

/// Without the means to tell the hub no handshake of TLS 1.2 is signed, and others are.
#[test]
fn tls12_is_refused_where_the_hub_cannot_be_told() {
    let refused = Tls12Refusal::Unavailable {
        why: "no list".to_owned(),
        hint: String::new(),
    };
    let checked = check(Purpose::Tls12ClientAuth, &[1, 0, 0, 2, 3, 3]);
    assert_eq!(checked, Err(Refusal::Tls12(refused)));
    assert_eq!(
        check(Purpose::Tls13ClientAuth, &tls13(TLS13_CONTEXT, 32)),
        Ok(())
    );
}

#[test]
fn a_message_of_one_purpose_is_refused_for_every_other() {
    let tls13 = tls13(TLS13_CONTEXT, 32);
    let hello = [1, 0, 0, 2, 3, 3];
    let digest = [0x5a; 32];
    for (purpose, refusal, others) in [
        (
            Purpose::Tls13ClientAuth,
            Refusal::NoTls13ClientAuth,
            [&hello[..], &digest],
        ),
        (Purpose::Proof, Refusal::NoProof, [&tls13[..], &hello]),
    ] {
        for other in others {
            assert_eq!(check(purpose, other), Err(refusal.clone()));
        }
    }
    for purpose in [Purpose::Csr, Purpose::SelfTest] {
        assert_eq!(check(purpose, &tls13), Err(Refusal::Purpose(purpose)));
    }
}

#[test]
fn schemes_that_are_not_the_keys_or_not_of_the_version_are_refused() {
    let message = tls13(TLS13_CONTEXT, 32);
    let check_scheme = |scheme| {
        let request = SignRequest {
            scheme,
            ..request(Purpose::Tls13ClientAuth, &message)
        };
        policy().check(KEY, &request, Instant::now())
    };
    let p256 = Scheme::EcdsaP256Sha256;
    assert_eq!(check_scheme(p256), Err(Refusal::Scheme(p256)));
    let pkcs1 = Scheme::RsaPkcs1Sha256;
    assert_eq!(check_scheme(pkcs1), Err(Refusal::NotOfTls13(pkcs1)));
}

#[test]
fn another_key_is_refused() {
    let message = tls13(TLS13_CONTEXT, 32);
    let request = request(Purpose::Tls13ClientAuth, &message);
    let other = Fingerprint([8; 32]);
    let checked = policy().check(other, &request, Instant::now());
    assert_eq!(checked, Err(Refusal::Key));
}

#[test]
fn requests_over_the_rate_limit_are_refused_until_it_is_refilled() {
    let message = tls13(TLS13_CONTEXT, 32);
    let request = request(Purpose::Tls13ClientAuth, &message);
    let policy = policy();
    let now = Instant::now();
    let refused = Err(Refusal::Rate(limit(10, Duration::from_secs(1), 10)));
    for _ in 0..10 {
        assert_eq!(policy.check(KEY, &request, now), Ok(()));
    }
    assert_eq!(policy.check(KEY, &request, now), refused);
    let later = now + Duration::from_millis(150);
    assert_eq!(policy.check(KEY, &request, later), Ok(()));
    assert_eq!(policy.check(KEY, &request, later), refused);
    policy.not_attempted();
    assert_eq!(policy.check(KEY, &request, later), Ok(()));
    assert_eq!(policy.check(KEY, &request, later), refused);
}

/// The defaults, with the two services' pools at their largest: 128 connections each, an `idle_timeout` of 50 s, and
/// attempts ahead of need each 5 s at the most frequent after the first failures.
#[test]
fn a_reconnect_storm_is_within_the_burst() {
    const POOLS: u32 = 2;
    const CONNECTIONS: u32 = 128 * POOLS;
    const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
    let message = tls13(TLS13_CONTEXT, 32);
    let request = request(Purpose::Tls13ClientAuth, &message);
    let needed = limit(CONNECTIONS, IDLE_TIMEOUT, 2 * CONNECTIONS);
    let policy = policy_with(needed);
    let mut now = Instant::now();
    let sign = |count: u32, now: Instant| {
        let asked = (0..count).map(|_| policy.check(KEY, &request, now).is_ok());
        asked.filter(|signed| *signed).count() as u32
    };
    // The hub takes the handshakes and drops the connections for ten minutes; each is a signature.
    for _ in 0..120 {
        assert_eq!(sign(POOLS, now), POOLS);
        now += Duration::from_secs(5);
    }
    // It is back: all connections at once; it drops them, and they are opened once more.
    assert_eq!(sign(CONNECTIONS, now), CONNECTIONS);
    now += Duration::from_millis(250);
    assert_eq!(sign(CONNECTIONS, now), CONNECTIONS);
    // Then applications call in waves, with a pause that lets each connection time out.
    for _ in 0..10 {
        now += IDLE_TIMEOUT;
        assert_eq!(sign(CONNECTIONS, now), CONNECTIONS);
    }
    // Whoever asks without end gets no more than the rate.
    let mut signed = 0;
    for _ in 0..3600 {
        now += Duration::from_secs(1);
        signed += sign(100, now);
    }
    assert!(
        (18_400..=18_432 + 2 * CONNECTIONS).contains(&signed),
        "{signed}"
    );
}
