//! Channels to a signer that the test plays: late answers, dead signers, and those who wait meanwhile.

use std::sync::Arc;
use std::thread;

use super::super::handover::pair;
use super::*;

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

fn channels() -> (Arc<Channels>, OwnedFd) {
    let (ours, theirs) = pair().unwrap();
    (Arc::new(Channels::new(vec![ours])), theirs)
}

/// The id of the next request, waited for.
fn asked(signer: &OwnedFd) -> u64 {
    let mut bytes = vec![0; 1024];
    let (length, _) = recv(signer, &mut bytes[..], RecvFlags::empty()).unwrap();
    frame::decode_request(&bytes[..length]).unwrap().0
}

fn say(signer: &OwnedFd, id: u64, answer: &Answer<'_>) {
    let mut bytes = Vec::new();
    frame::encode_answer(&mut bytes, id, answer);
    send(signer, &bytes, SendFlags::empty()).unwrap();
}

fn ask(channels: &Channels, patience: Duration) -> Result<Reply, EngineError> {
    channels.ask(&Request::Describe, Instant::now() + patience)
}

#[test]
fn who_waits_for_a_channel_gets_it_when_a_late_answer_has_freed_it() {
    let (channels, signer) = channels();
    let (first, second) = (Arc::clone(&channels), Arc::clone(&channels));
    let late = thread::spawn(move || ask(&first, SHORT));
    let id = asked(&signer);
    // Waits while nothing is owed yet.
    let waits = thread::spawn(move || {
        let began = Instant::now();
        (ask(&second, LONG), began.elapsed())
    });
    assert!(matches!(
        late.join().unwrap(),
        Err(EngineError::Deadline(_))
    ));
    say(&signer, id, &Answer::Signed(b"late"));
    let next = asked(&signer);
    assert_ne!(next, id);
    say(&signer, next, &Answer::Signed(b"in time"));
    let (reply, took) = waits.join().unwrap();
    assert_eq!(reply.unwrap(), Reply::Signed(b"in time".to_vec()));
    assert!(took < LONG / 2, "{took:?}");
}

#[test]
fn an_answer_to_an_earlier_question_is_not_taken_for_this_ones() {
    let (channels, signer) = channels();
    let asks = thread::spawn(move || ask(&channels, LONG));
    let id = asked(&signer);
    say(&signer, id + 1, &Answer::Signed(b"of another"));
    say(&signer, id.wrapping_sub(1), &Answer::Signed(b"of another"));
    say(&signer, id, &Answer::Signed(b"its own"));
    assert_eq!(
        asks.join().unwrap().unwrap(),
        Reply::Signed(b"its own".to_vec())
    );
}

#[test]
fn a_question_is_asked_once_more_when_the_signer_is_gone_and_no_more() {
    let (channels, signer) = channels();
    let asks = thread::spawn(move || ask(&channels, LONG));
    for _ in 0..2 {
        asked(&signer);
        say(&signer, 0, &Answer::Gone("signal: 11"));
    }
    let error = asks.join().unwrap().unwrap_err();
    assert!(
        matches!(&error, EngineError::SignerGone { why } if why == "signal: 11"),
        "{error}"
    );
}

#[test]
fn an_end_that_is_closed_is_told_at_once() {
    let (channels, signer) = channels();
    drop(signer);
    let began = Instant::now();
    assert!(ask(&channels, LONG).is_err());
    assert!(matches!(ask(&channels, LONG), Err(EngineError::Stopped)));
    assert!(began.elapsed() < LONG / 2);
}
