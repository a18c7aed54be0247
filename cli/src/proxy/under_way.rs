//! Handshakes that have begun with an identity: the key of one that was replaced is in use until the last of
//! them has ended.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// The handshakes of one identity with one service.
pub(super) struct UnderWay {
    begun: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// One of them, until this is dropped.
pub(super) struct Begun {
    _held: mpsc::Sender<Infallible>,
}

impl Default for UnderWay {
    fn default() -> Self {
        let (begun, ended) = mpsc::channel(1);
        Self { begun, ended }
    }
}

impl UnderWay {
    pub(super) fn begin(&self) -> Begun {
        Begun {
            _held: self.begun.clone(),
        }
    }

    /// Waits for the last one.
    pub(super) async fn over(self) {
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
        let under_way = UnderWay::default();
        let (first, second) = (under_way.begin(), under_way.begin());
        drop(first);
        let mut over = std::pin::pin!(under_way.over());
        assert!(timeout(Duration::from_millis(20), &mut over).await.is_err());
        drop(second);
        assert!(timeout(Duration::from_secs(5), over).await.is_ok());
    }
}
