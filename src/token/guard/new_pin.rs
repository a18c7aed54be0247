//! A PIN that was changed while a process is logged in: whether the source has another one than the one that was sent.
//!
//! A login that was made goes on when the PIN is changed at the token. The next one, after an outage, takes the new PIN. A file
//! shows a change by its version; a program has to be asked, which is done only when there is a token to log in to.

use super::PinGuard;
use super::error::PinError;
use crate::config::pin::PinSource;
use crate::token::pin;

impl PinGuard {
    /// The version of a PIN file now, if it is another than the one that was sent last. `None` of other sources, and where the
    /// file cannot be looked at.
    pub(crate) fn changed_file(&self) -> Option<String> {
        let PinSource::File(path) = &self.source else {
            return None;
        };
        let sent = self.accepted_pin.sent_version()?;
        pin::version_of_file(path).filter(|version| *version != sent)
    }

    /// Whether a PIN file that was changed has a PIN that was not seen there before. What is no PIN is none, and is looked at again
    /// when the file is changed.
    pub(crate) fn has_unseen_pin(&self) -> bool {
        let read = self.attendance.read_pin(&self.source);
        read.is_ok_and(|pin| self.accepted_pin.is_new(pin))
    }

    /// Whether the source may have another PIN than the one that was sent last.
    pub(crate) fn may_have_new_pin(&self) -> bool {
        match &self.source {
            PinSource::File(_) => self.changed_file().is_some(),
            PinSource::Command(_) => self.accepted_pin.sent_version().is_some(),
            // What systemd, the environment or the configuration gave is the same for as long as this process lives.
            PinSource::Credential(_)
            | PinSource::Env(_)
            | PinSource::Empty
            | PinSource::None
            | PinSource::Prompt
            | PinSource::ProtectedPath => false,
        }
    }

    /// Reads the source again, and has the next login send what it gives. Returns whether that is another PIN than the one that
    /// the token accepted before.
    ///
    /// # Errors
    /// The file was changed, and what it has is no PIN: then nothing is sent, because the one of before is not the source's any
    /// more. A program that fails says nothing of the PIN: the one of before is sent.
    pub(crate) fn read_new_pin(&self) -> Result<bool, PinError> {
        match self.attendance.read_pin(&self.source) {
            Ok(pin) => Ok(self.accepted_pin.replace_by(pin)),
            Err(error) if matches!(self.source, PinSource::File(_)) => Err(error),
            Err(error) => {
                tracing::warn!(target: "hsm_mtls::token::guard", %error, "the PIN source was not asked again: the accepted PIN is sent");
                Ok(false)
            }
        }
    }
}
