//! Notices in a signer process of the proxy that a PIN file was replaced: the supervisor, which starts the next signer, is not to
//! know where the PIN is, so it is told only that there is a new one.
//!
//! The file is looked at once a second, and read when it was changed and has stayed the same since the last look: a PIN of which half is
//! written would be a wrong one.

use std::sync::Mutex;

use super::heartbeat::CallDeadlines;
use super::open_key::OpenKeys;
use crate::config::proxy::ProxyConfig;
use crate::config::reload::ReloadTrigger;
use crate::log_target;
use crate::poison::IgnorePoison as _;

/// The PIN files of a signer.
pub(super) struct PinFiles {
    /// What makes the proxy reload; `None` where this is no signer of a proxy.
    reload: Option<ReloadTrigger>,
    /// Of C3 and of Sig4.
    watches: Mutex<[PinFileWatch; 2]>,
}

impl PinFiles {
    pub(super) fn new(proxy: Option<&ProxyConfig>) -> Self {
        Self {
            reload: proxy.map(|proxy| proxy.reload),
            watches: Mutex::default(),
        }
    }

    /// Has a PIN file that was replaced tried by another signer, or says that there is one, where only SIGHUP reloads.
    pub(super) fn look(&self, keys: &OpenKeys, calls: &CallDeadlines) {
        let Some(reload) = self.reload else {
            return;
        };
        let mut watches = self.watches.lock().ignore_poison();
        let mut any_new = false;
        for (open, watch) in keys.all().iter().zip(watches.iter_mut()) {
            let token = open.engine.token();
            // What is in it decides: a file that is touched every minute is no reason for a login a minute.
            any_new |= watch.is_new(token.changed_pin_file()) && token.has_unseen_pin();
        }
        match reload {
            _ if !any_new => {}
            ReloadTrigger::Watch => calls.tell_of_new_pin(),
            ReloadTrigger::Signal => tracing::warn!(
                target: log_target::SIGNER_SERVICE,
                hint = "if the PIN was changed at the token, reload: another signer tries the new one, while this one goes on",
                "the PIN file was replaced, and what it has was not tried yet"
            ),
        }
    }
}

/// What was seen of one PIN file.
#[derive(Debug, Default)]
struct PinFileWatch {
    /// The version at the last look, where it was another than the one that was sent.
    seen: Option<String>,
    /// The version that was told of.
    told: Option<String>,
}

impl PinFileWatch {
    /// Whether there is a new PIN to tell of. `changed` is the version of the file now, if it is another than the one that was sent.
    fn is_new(&mut self, changed: Option<String>) -> bool {
        let is_settled = changed.is_some() && changed == self.seen;
        self.seen = changed;
        let is_new = is_settled && self.seen != self.told;
        if is_new {
            self.told.clone_from(&self.seen);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_that_stays_is_told_of_once() {
        let mut watch = PinFileWatch::default();
        let mut look = |version: Option<&str>| watch.is_new(version.map(str::to_owned));
        assert!(!look(None));
        assert!(!look(Some("1")), "it may be half written");
        assert!(!look(Some("2")), "it was");
        assert!(look(Some("2")));
        assert!(!look(Some("2")), "once");
        // The process has logged in with it.
        assert!(!look(None));
        assert!(!look(Some("3")));
        assert!(!look(None), "it was gone for a moment");
        assert!(!look(Some("3")));
        assert!(look(Some("3")));
    }
}
