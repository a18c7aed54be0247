//! The TLS handshakes with one service: those in progress, until whose end the key of a replaced identity is in use, and
//! the result of the last one, for readiness.

use std::convert::Infallible;

use tokio::sync::mpsc;

use super::super::problem_details::Problem;

/// The result of the last handshake.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct LastHandshake {
    /// Unix time.
    pub(in crate::proxy) at: u64,
    /// TLS version, cipher suite and group, or the problem.
    pub(in crate::proxy) outcome: Result<String, Problem>,
    /// The problem is one of signer or token.
    pub(in crate::proxy) token_failed: bool,
}

/// The handshakes in progress of one identity with one service.
pub(in crate::proxy) struct HandshakeTracker {
    started: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// A handshake in progress, until this is dropped.
pub(super) struct HandshakeGuard {
    _held: mpsc::Sender<Infallible>,
}

impl Default for HandshakeTracker {
    fn default() -> Self {
        let (started, ended) = mpsc::channel(1);
        Self { started, ended }
    }
}

impl HandshakeTracker {
    pub(super) fn track(&self) -> HandshakeGuard {
        HandshakeGuard {
            _held: self.started.clone(),
        }
    }

    /// Waits until none is in progress.
    pub(in crate::proxy) async fn drained(self) {
        let Self { started, mut ended } = self;
        drop(started);
        // Nothing is ever sent: this returns when all senders are dropped.
        let _ = ended.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_is_drained_when_the_last_handshake_has_ended() {
        let tracker = HandshakeTracker::default();
        let (first, second) = (tracker.track(), tracker.track());
        drop(first);
        let mut drained = std::pin::pin!(tracker.drained());
        assert!(
            timeout(Duration::from_millis(20), &mut drained)
                .await
                .is_err()
        );
        drop(second);
        assert!(timeout(Duration::from_secs(5), drained).await.is_ok());
    }
}
