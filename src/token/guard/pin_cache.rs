//! The PIN that the token accepted, kept in memory for later logins.

use std::sync::Mutex;

use secrecy::ExposeSecret;

use crate::poison::IgnorePoison as _;
use crate::token::pin::Pin;

/// The accepted PIN; empty until the token has accepted one, and after it refused one.
#[derive(Default)]
pub(super) struct PinCache(Mutex<Option<Pin>>);

impl PinCache {
    /// The accepted PIN.
    pub(super) fn pin(&self) -> Option<Pin> {
        self.0.lock().ignore_poison().clone()
    }

    /// Whether `pin` is the accepted one.
    pub(super) fn holds(&self, pin: &Pin) -> bool {
        let accepted = self.0.lock().ignore_poison();
        accepted
            .as_ref()
            .is_some_and(|accepted| accepted.text.expose_secret() == pin.text.expose_secret())
    }

    /// Keeps a PIN that the token accepted, if none is kept yet.
    pub(super) fn keep(&self, pin: Option<Pin>) {
        let mut accepted = self.0.lock().ignore_poison();
        if accepted.is_none() {
            *accepted = pin;
        }
    }

    /// Forgets the PIN: the next login reads the source again.
    pub(super) fn clear(&self) {
        *self.0.lock().ignore_poison() = None;
    }
}
