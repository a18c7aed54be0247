//! The PIN that the token accepted, kept in memory for later logins, and the one that is to be tried in its place because the
//! source has changed.
//!
//! A source that has changed decides: the PIN of before is not sent any more, neither before the new one nor after its refusal. So one
//! change of a PIN costs one wrong try at most.

use std::sync::{Mutex, MutexGuard};

use secrecy::ExposeSecret;

use crate::poison::IgnorePoison as _;
use crate::token::pin::Pin;

/// The accepted PIN; empty until the token has accepted one, and after it refused one.
#[derive(Default)]
pub(super) struct PinCache(Mutex<Pins>);

#[derive(Default)]
struct Pins {
    accepted: Option<Pin>,
    /// What the source has now, if that is another PIN.
    next: Option<Pin>,
    /// The version of the source that was sent last.
    sent_version: Option<String>,
}

impl PinCache {
    /// The PIN for the next login: that of a source that has changed, or else the accepted one.
    pub(super) fn pin(&self) -> Option<Pin> {
        let pins = self.lock();
        pins.next.as_ref().or(pins.accepted.as_ref()).cloned()
    }

    /// Whether `pin` is the accepted one.
    pub(super) fn holds(&self, pin: &Pin) -> bool {
        self.lock()
            .accepted
            .as_ref()
            .is_some_and(|accepted| is_same(accepted, pin))
    }

    /// Records that a PIN of this version of the source is sent.
    pub(super) fn sending(&self, version: &str) {
        self.lock().sent_version = Some(version.to_owned());
    }

    /// The version of the source that was sent last.
    pub(super) fn sent_version(&self) -> Option<String> {
        self.lock().sent_version.clone()
    }

    /// Keeps a PIN that the token accepted.
    pub(super) fn keep(&self, pin: Option<Pin>) {
        let mut pins = self.lock();
        pins.next = None;
        match (pin, &mut pins.accepted) {
            (Some(pin), Some(accepted)) if is_same(accepted, &pin) => {
                accepted.version = pin.version;
            }
            (Some(pin), accepted) => *accepted = Some(pin),
            (None, _) => {}
        }
    }

    /// The source has this PIN now: it is sent at the next login. Returns whether it is another than the accepted one.
    pub(super) fn replace_by(&self, pin: Pin) -> bool {
        let mut pins = self.lock();
        let is_accepted = pins
            .accepted
            .as_ref()
            .is_some_and(|accepted| is_same(accepted, &pin));
        pins.next = Some(pin);
        !is_accepted
    }

    /// Forgets the PINs: the next login reads the source again.
    pub(super) fn clear(&self) {
        let mut pins = self.lock();
        pins.accepted = None;
        pins.next = None;
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.0.lock().ignore_poison()
    }
}

fn is_same(one: &Pin, other: &Pin) -> bool {
    one.text.expose_secret() == other.text.expose_secret()
}
