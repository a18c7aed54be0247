//! The signer processes of a proxy: one for each token that holds a key for the connections, so that a vendor's module which
//! crashes or hangs takes no other with it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::Notify;

use super::SignerError;
use super::launch::SignerStart;
use super::signer_supervisor::SupervisedSigner;

/// Signers that are started, offered and ended together. Dropping this ends their processes.
#[derive(Debug)]
pub(super) struct SignerGroup {
    signers: Vec<SupervisedSigner>,
    new_pin: Arc<Notify>,
}

impl SignerGroup {
    /// Starts each with so many channels; returns the front end's ends, those of the first signer first.
    ///
    /// # Errors
    /// A process cannot be started: then none runs.
    pub(super) fn start(
        starts: impl Iterator<Item = (SignerStart, usize)>,
    ) -> Result<(Self, Vec<OwnedFd>), SignerError> {
        let new_pin = Arc::new(Notify::new());
        let mut group = Self {
            signers: Vec::new(),
            new_pin: Arc::clone(&new_pin),
        };
        let mut channels = Vec::new();
        for (start, count) in starts {
            let (signer, sockets) = SupervisedSigner::start_by(start, count, Arc::clone(&new_pin))?;
            group.signers.push(signer);
            channels.extend(sockets);
        }
        Ok((group, channels))
    }

    /// Waits until one of them says that a PIN file was replaced.
    pub(super) async fn new_pin(&self) {
        self.new_pin.notified().await;
    }
}

impl Drop for SignerGroup {
    fn drop(&mut self) {
        // All at once: each takes seconds where its module hangs.
        for signer in &mut self.signers {
            signer.stop();
        }
    }
}
