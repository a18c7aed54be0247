//! Counts the TLS handshakes in progress with one identity: the key of a replaced identity is in use until the last of
//! them has ended.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// The handshakes of one identity with one service.
pub(in crate::proxy) struct HandshakeTracker {
    begun: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// A handshake in progress, until this is dropped.
pub(super) struct HandshakeGuard {
    _held: mpsc::Sender<Infallible>,
}

impl Default for HandshakeTracker {
    fn default() -> Self {
        let (begun, ended) = mpsc::channel(1);
        Self { begun, ended }
    }
}

impl HandshakeTracker {
    pub(super) fn track(&self) -> HandshakeGuard {
        HandshakeGuard {
            _held: self.begun.clone(),
        }
    }

    /// Waits until none is in progress.
    pub(in crate::proxy) async fn drained(self) {
        let Self { begun, mut ended } = self;
        drop(begun);
        // Nothing is ever sent: this is the end of all senders.
        let _ = ended.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_is_over_when_the_last_one_has_ended() {
        let tracker = HandshakeTracker::default();
        let (first, second) = (tracker.track(), tracker.track());
        drop(first);
        let mut over = std::pin::pin!(tracker.drained());
        assert!(timeout(Duration::from_millis(20), &mut over).await.is_err());
        drop(second);
        assert!(timeout(Duration::from_secs(5), over).await.is_ok());
    }
}
