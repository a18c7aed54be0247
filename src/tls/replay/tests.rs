//! Both runs get the same inputs, and a second run that differs fails.

use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::CertificateDer;

use super::*;

const SCHEME: Scheme = Scheme::EcdsaP256Sha256;

async fn asks(replay: &Arc<Replay>, message: &[u8]) -> Result<Answer, Error> {
    replay.run(async { signature(SCHEME, message) }).await
}

/// A handshake whose first run has ended.
async fn signed(first_run: impl Future<Output = ()>) -> Arc<Replay> {
    let replay = Arc::new(Replay::default());
    replay.run(first_run).await;
    assert!(matches!(
        asks(&replay, b"message").await,
        Ok(Answer::EndRun)
    ));
    assert!(replay.has_asked());
    replay.signed(b"signature".to_vec());
    replay
}

fn provider() -> CryptoProvider {
    recorded_provider(aws_lc_rs::default_provider())
}

fn random(length: usize) -> Result<Vec<u8>, rustls::crypto::GetRandomFailed> {
    let mut bytes = vec![0; length];
    provider().secure_random.fill(&mut bytes).map(|()| bytes)
}

#[tokio::test]
async fn the_signature_is_given_for_the_same_message_only() {
    assert!(matches!(signature(SCHEME, b"message"), Ok(Answer::Sign)));
    let replay = signed(async {}).await;
    match asks(&replay, b"message").await {
        Ok(Answer::Signature(signature)) => assert_eq!(signature, b"signature"),
        _ => panic!("no signature"),
    }
    assert!(replay.second_run_error().is_none());
    assert!(asks(&replay, b"another").await.is_err());
    assert!(replay.second_run_error().is_some());
    let replay = signed(async {}).await;
    let other_scheme = replay.run(async { signature(Scheme::EcdsaP384Sha384, b"message") });
    assert!(other_scheme.await.is_err());
}

#[tokio::test]
async fn random_numbers_are_the_same_and_new_ones_where_the_first_run_ended() {
    let mut first = Vec::new();
    let replay = signed(async { first.extend([random(32).unwrap(), random(2).unwrap()]) }).await;
    let second = replay.run(async { [random(32), random(2), random(32)].map(Result::unwrap) });
    let [same, short, new] = second.await;
    assert_eq!(first, [same.clone(), short]);
    assert_ne!(new, same);
    let replay = signed(async { drop(random(32)) }).await;
    assert!(replay.run(async { random(16) }).await.is_err());
    assert!(replay.second_run_error().is_some());
    assert_ne!(random(32).unwrap(), random(32).unwrap());
}

#[tokio::test]
async fn the_time_of_the_first_run_is_that_of_the_second() {
    let past = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
    let replay = signed(async { assert!(RecordedTime.current_time().is_some()) }).await;
    replay.lock().times[0] = past;
    replay
        .run(async {
            assert_eq!(RecordedTime.current_time(), Some(past));
            assert_ne!(RecordedTime.current_time(), Some(past));
        })
        .await;
}

fn group(name: NamedGroup) -> &'static dyn SupportedKxGroup {
    let groups = provider().kx_groups;
    *groups.iter().find(|group| group.name() == name).unwrap()
}

/// Exchanges keys with a server, and returns our public key and the secret.
fn exchange(
    ours: &'static dyn SupportedKxGroup,
    server: Option<&[u8]>,
) -> (Vec<u8>, Option<Result<Vec<u8>, Error>>) {
    let active = ours.start().unwrap();
    let public = active.pub_key().to_vec();
    let secret = |peer| {
        active
            .complete(peer)
            .map(|secret| secret.secret_bytes().to_vec())
    };
    (public, server.map(secret))
}

#[tokio::test]
async fn the_keys_of_each_group_are_the_same_in_both_runs() {
    for group in provider().kx_groups {
        // Completed in the first run, as in TLS 1.3, and after it, as in TLS 1.2.
        for completed in [true, false] {
            let replay = Arc::new(Replay::default());
            let active = replay.run(async { group.start().unwrap() }).await;
            let server = group.start_and_complete(active.pub_key()).unwrap();
            let public = active.pub_key().to_vec();
            let component = active.hybrid_component();
            let component = component.map(|(name, key)| (name, key.to_vec()));
            let expected = server.secret.secret_bytes();
            if completed {
                let secret = active.complete(&server.pub_key).unwrap();
                assert_eq!(secret.secret_bytes(), expected);
            }
            assert!(matches!(asks(&replay, b"m").await, Ok(Answer::EndRun)));
            replay.signed(Vec::new());
            let again = replay.run(async { group.start().unwrap() }).await;
            let of_second = again.hybrid_component();
            assert_eq!(of_second.map(|(name, key)| (name, key.to_vec())), component);
            assert_eq!(
                (again.pub_key(), again.group()),
                (&public[..], group.name())
            );
            let secret = again.complete(&server.pub_key).unwrap();
            assert_eq!(secret.secret_bytes(), expected, "{:?}", group.name());
        }
    }
}

#[tokio::test]
async fn a_key_exchange_that_differs_fails() {
    let x25519 = group(NamedGroup::X25519);
    let (server, _) = exchange(x25519, None);
    let (other, _) = exchange(x25519, None);
    let replay = signed(async { drop(exchange(x25519, Some(&server))) }).await;
    let (_, secret) = replay.run(async { exchange(x25519, Some(&other)) }).await;
    assert!(secret.unwrap().is_err());
    assert!(replay.second_run_error().is_some());
    let replay = signed(async { drop(exchange(x25519, None)) }).await;
    let other_group = replay.run(async { group(NamedGroup::secp256r1).start().is_err() });
    assert!(other_group.await);
}

#[tokio::test]
async fn the_servers_signature_is_verified_once_and_another_anew() {
    let certificate = CertificateDer::from(vec![1]);
    let verified = std::cell::Cell::new(0);
    let verify = |message: &[u8], signature: &[u8]| {
        server_proof(
            message,
            &certificate,
            SignatureScheme::ED25519,
            signature,
            || {
                verified.set(verified.get() + 1);
                match signature {
                    b"good" => Ok(HandshakeSignatureValid::assertion()),
                    _ => Err(Error::DecryptError),
                }
            },
        )
    };
    let replay = signed(async { assert!(verify(b"message", b"good").is_ok()) }).await;
    let second = async {
        assert!(verify(b"message", b"good").is_ok());
        assert_eq!(verified.get(), 1);
        assert!(verify(b"message", b"bad").is_err());
        assert!(verify(b"another", b"good").is_ok());
        assert_eq!(verified.get(), 3);
    };
    replay.run(second).await;
    // Outside of a handshake with two runs nothing is remembered.
    assert!(verify(b"another", b"good").is_ok());
    assert_eq!(verified.get(), 4);
}
