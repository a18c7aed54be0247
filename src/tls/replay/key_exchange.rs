//! The ephemeral keys of a handshake: the second run has those of the first, and the secrets that the first has agreed on.
//!
//! In TLS 1.3 the secret is needed before the signature; in TLS 1.2 after it, so the first run may leave an exchange uncompleted.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup, aws_lc_rs,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::super::signing_key::rustls_error;
use super::{Replay, current, runs_differ};
use crate::poison::IgnorePoison as _;

static GROUPS: LazyLock<Vec<RecordedGroup>> = LazyLock::new(|| {
    let groups = aws_lc_rs::ALL_KX_GROUPS.iter();
    groups.map(|group| RecordedGroup(*group)).collect()
});

/// The same group, whose exchanges a second run can have again.
pub(super) fn recorded_group(
    group: &'static dyn SupportedKxGroup,
) -> &'static dyn SupportedKxGroup {
    let known = GROUPS.iter().find(|known| known.name() == group.name());
    known.map_or(group, |known| known)
}

#[derive(Debug)]
struct RecordedGroup(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for RecordedGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let Some(replay) = current() else {
            return self.0.start();
        };
        let recorded = {
            let mut state = replay.lock();
            match state.is_second() {
                true => state.exchanges.pop_front(),
                false => None,
            }
        };
        let exchange = match recorded {
            Some(exchange) if exchange.group == self.name() => exchange,
            Some(_) => {
                replay.differs();
                return Err(rustls_error(runs_differ()));
            }
            None => {
                let exchange = Arc::new(RecordedExchange::of(self.0.start()?));
                let mut state = replay.lock();
                if !state.is_second() {
                    state.exchanges.push_back(Arc::clone(&exchange));
                }
                exchange
            }
        };
        Ok(Box::new(SharedExchange { exchange, replay }))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        // A server's part, which has no second run.
        self.0.start_and_complete(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

/// A key exchange of both runs.
pub(super) struct RecordedExchange {
    group: NamedGroup,
    public_key: Vec<u8>,
    hybrid_component: Option<(NamedGroup, Vec<u8>)>,
    progress: Mutex<Progress>,
}

enum Progress {
    Active(Box<dyn ActiveKeyExchange>),
    Completed {
        peer: Vec<u8>,
        share: Share,
        secret: SecretSlice<u8>,
    },
    Failed,
}

/// Which of the client's shares the server has chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Whole,
    HybridComponent,
}

impl fmt::Debug for RecordedExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedExchange")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl RecordedExchange {
    fn of(active: Box<dyn ActiveKeyExchange>) -> Self {
        let component = active.hybrid_component();
        Self {
            group: active.group(),
            public_key: active.pub_key().to_vec(),
            hybrid_component: component.map(|(group, key)| (group, key.to_vec())),
            progress: Mutex::new(Progress::Active(active)),
        }
    }

    /// The secret that is shared with the owner of this public key. `None`: it was completed with another one.
    fn complete(&self, peer: &[u8], share: Share) -> Option<Result<SharedSecret, Error>> {
        let mut progress = self.progress.lock().ignore_poison();
        match std::mem::replace(&mut *progress, Progress::Failed) {
            Progress::Active(active) => {
                let secret = match share {
                    Share::Whole => active.complete(peer),
                    Share::HybridComponent => active.complete_hybrid_component(peer),
                };
                if let Ok(secret) = &secret {
                    *progress = Progress::Completed {
                        peer: peer.to_vec(),
                        share,
                        secret: secret.secret_bytes().to_vec().into(),
                    };
                }
                Some(secret)
            }
            Progress::Completed {
                peer: known,
                share: of,
                secret,
            } if known == peer && of == share => {
                Some(Ok(SharedSecret::from(secret.expose_secret())))
            }
            Progress::Completed { .. } | Progress::Failed => None,
        }
    }
}

/// One run's part in a key exchange.
struct SharedExchange {
    exchange: Arc<RecordedExchange>,
    replay: Arc<Replay>,
}

impl SharedExchange {
    fn secret(&self, peer: &[u8], share: Share) -> Result<SharedSecret, Error> {
        self.exchange.complete(peer, share).unwrap_or_else(|| {
            self.replay.differs();
            Err(rustls_error(runs_differ()))
        })
    }
}

impl ActiveKeyExchange for SharedExchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.secret(peer, Share::Whole)
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        let component = self.exchange.hybrid_component.as_ref();
        component.map(|(group, key)| (*group, key.as_slice()))
    }

    fn complete_hybrid_component(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.secret(peer, Share::HybridComponent)
    }

    fn pub_key(&self) -> &[u8] {
        &self.exchange.public_key
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        // aws-lc-rs has none.
        None
    }

    fn group(&self) -> NamedGroup {
        self.exchange.group
    }
}
