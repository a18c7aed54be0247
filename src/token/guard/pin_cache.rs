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
    /// The other PIN that was seen in the source last.
    seen: Option<Pin>,
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

    /// Whether the source, which was changed, has another PIN than the accepted one and than was seen before: a file that is touched,
    /// or written again as it was, has nothing new.
    pub(super) fn is_new(&self, pin: Pin) -> bool {
        let mut pins = self.lock();
        if pins
            .accepted
            .as_ref()
            .is_some_and(|accepted| is_same(accepted, &pin))
        {
            pins.sent_version = Some(pin.version);
            return false;
        }
        let is_known = pins.seen.as_ref().is_some_and(|seen| is_same(seen, &pin));
        pins.seen = Some(pin);
        !is_known
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str, version: &str) -> Pin {
        Pin {
            text: text.to_owned().into(),
            version: version.to_owned(),
            anomaly: None,
        }
    }

    #[test]
    fn a_file_that_is_written_again_as_it_was_has_nothing_new() {
        let cache = PinCache::default();
        cache.sending("1");
        cache.keep(Some(pin("right", "1")));
        assert!(!cache.is_new(pin("right", "2")), "touched");
        assert_eq!(cache.sent_version().as_deref(), Some("2"));
        assert!(cache.is_new(pin("wrong", "3")));
        assert!(!cache.is_new(pin("wrong", "4")), "written again");
        assert!(cache.is_new(pin("other", "5")));
        assert!(
            cache.pin().is_some_and(|pin| pin.version == "1"),
            "none of them is sent"
        );
    }
}
