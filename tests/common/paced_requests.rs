//! An even load on a proxy while something happens to it, of which no request may fail.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::poll::until;
use super::proxy::{exchange, status};

const GET: &[u8] = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// About fifty requests a second from the beginning to the end of `work`, all of which are answered with 200. Returns how many.
pub fn under_requests<T>(socket: &Path, work: impl FnOnce(&dyn Fn()) -> T) -> (T, usize) {
    under_paced_requests(socket, 50, work)
}

/// The same with about so many a second.
pub fn under_paced_requests<T>(
    socket: &Path,
    per_second: u32,
    work: impl FnOnce(&dyn Fn()) -> T,
) -> (T, usize) {
    // Each of two callers sends every second one.
    let pause = Duration::from_secs(2) / per_second;
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done = thread::scope(|scope| {
        for _ in 0..2 {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let answer = exchange(socket, GET);
                    let answer = String::from_utf8(answer).expect("text");
                    assert_eq!(status(&answer), 200, "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    next += pause;
                    thread::park_timeout(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        let _stopped = Stopped(&stop);
        let more = || {
            let goal = answered.load(Ordering::Relaxed) + 30;
            until("requests go on", || {
                answered.load(Ordering::Relaxed) >= goal
            });
        };
        more();
        let done = work(&more);
        more();
        done
    });
    (done, answered.load(Ordering::Relaxed))
}

/// Ends the load when it goes.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
