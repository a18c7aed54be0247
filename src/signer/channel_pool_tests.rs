//! Channels whose other end is the test: late responses, signers that end, and callers that wait meanwhile.

use std::sync::Arc;
use std::thread;

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::super::fd_passing::socket_pair;
use super::super::frame::{self, Response};
use super::*;

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

fn channels() -> (Arc<Channels>, OwnedFd) {
    let (caller, signer) = socket_pair().unwrap();
    (Arc::new(Channels::new(vec![caller])), signer)
}

/// Waits for the next request; returns its id.
fn receive_request(signer: &OwnedFd) -> u64 {
    let mut bytes = vec![0; 1024];
    let (length, _) = recv(signer, &mut bytes[..], RecvFlags::empty()).unwrap();
    frame::decode_request(&bytes[..length]).unwrap().0
}

fn respond(signer: &OwnedFd, id: u64, response: &Response<'_>) {
    let mut bytes = Vec::new();
    frame::encode_response(&mut bytes, id, response);
    send(signer, &bytes, SendFlags::empty()).unwrap();
}

fn request(channels: &Channels, timeout: Duration) -> Result<OwnedResponse, EngineError> {
    channels.request(&Request::Describe, Instant::now() + timeout)
}

#[test]
fn a_waiting_caller_gets_a_channel_whose_late_response_arrived() {
    let (channels, signer) = channels();
    let (first, second) = (Arc::clone(&channels), Arc::clone(&channels));
    let late = thread::spawn(move || request(&first, SHORT));
    let id = receive_request(&signer);
    // It waits before any channel is late.
    let waiting = thread::spawn(move || {
        let started = Instant::now();
        (request(&second, LONG), started.elapsed())
    });
    assert!(matches!(
        late.join().unwrap(),
        Err(EngineError::Deadline(_))
    ));
    respond(&signer, id, &Response::Signed(b"late"));
    let next = receive_request(&signer);
    assert_ne!(next, id);
    respond(&signer, next, &Response::Signed(b"in time"));
    let (response, elapsed) = waiting.join().unwrap();
    assert_eq!(
        response.unwrap(),
        OwnedResponse::Signed(b"in time".to_vec())
    );
    assert!(elapsed < LONG / 2, "{elapsed:?}");
}

#[test]
fn a_response_to_another_request_is_ignored() {
    let (channels, signer) = channels();
    let caller = thread::spawn(move || request(&channels, LONG));
    let id = receive_request(&signer);
    respond(&signer, id + 1, &Response::Signed(b"of another"));
    respond(
        &signer,
        id.wrapping_sub(1),
        &Response::Signed(b"of another"),
    );
    respond(&signer, id, &Response::Signed(b"its own"));
    assert_eq!(
        caller.join().unwrap().unwrap(),
        OwnedResponse::Signed(b"its own".to_vec())
    );
}

#[test]
fn a_request_is_repeated_once_when_the_signer_has_ended() {
    let (channels, signer) = channels();
    let caller = thread::spawn(move || request(&channels, LONG));
    for _ in 0..2 {
        receive_request(&signer);
        respond(&signer, 0, &Response::SignerEnded("signal: 11"));
    }
    let error = caller.join().unwrap().unwrap_err();
    assert!(
        matches!(&error, EngineError::SignerGone { why } if why == "signal: 11"),
        "{error}"
    );
}

#[test]
fn a_closed_channel_fails_at_once() {
    let (channels, signer) = channels();
    drop(signer);
    let started = Instant::now();
    assert!(request(&channels, LONG).is_err());
    assert!(matches!(
        request(&channels, LONG),
        Err(EngineError::Stopped)
    ));
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_task_waits_as_a_thread_does() {
    let (channels, signer) = channels();
    let late = channels.request_async(&Request::Describe, Instant::now() + SHORT);
    let late = late.await.unwrap_err();
    assert!(matches!(late, EngineError::Deadline(_)), "{late}");
    // The only channel is late until its response has arrived.
    let id = receive_request(&signer);
    let waiting = Arc::clone(&channels);
    let waiting = tokio::spawn(async move {
        let deadline = Instant::now() + LONG;
        waiting.request_async(&Request::Describe, deadline).await
    });
    let responding = thread::spawn(move || {
        respond(&signer, id, &Response::Signed(b"late"));
        let id = receive_request(&signer);
        respond(&signer, id, &Response::Signed(b"in time"));
        signer
    });
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response, OwnedResponse::Signed(b"in time".to_vec()));
    let signer = responding.join().unwrap();
    // A caller that is dropped leaves its channel behind as late.
    let dropped = channels.request_async(&Request::Describe, Instant::now() + LONG);
    assert!(tokio::time::timeout(SHORT, dropped).await.is_err());
    assert_eq!(channels.counts(), (0, 1, 1));
    drop(signer);
    let deadline = Instant::now() + LONG;
    let gone = channels.request_async(&Request::Describe, deadline);
    assert!(gone.await.is_err());
    assert!(Instant::now() < deadline - LONG / 2);
}

#[test]
fn a_channel_moves_from_one_runtime_to_another() {
    let (channels, signer) = channels();
    let responding = thread::spawn(move || {
        for _ in 0..3 {
            let id = receive_request(&signer);
            respond(&signer, id, &Response::Signed(b"signed"));
        }
        signer
    });
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let kept = runtime();
    for runtime in [&kept, &runtime(), &kept] {
        let request = channels.request_async(&Request::Describe, Instant::now() + LONG);
        let response = runtime.block_on(request).unwrap();
        assert_eq!(response, OwnedResponse::Signed(b"signed".to_vec()));
    }
    drop(responding.join().unwrap());
}
