//! The plan for a signer process of the proxy: its configuration, how it is started, and the timeouts of a reload with it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::config_reader::ReadConfiguration;
use super::launch::SignerStart;
use super::process_launcher::ProcessLauncher;
use super::signer_group::SignerGroup;
use super::watched_name::WatchedName;
use super::{START_STEPS, SignerError};
use crate::config::{Config, ConfigText};

/// The front end's time beyond the configured timeouts: to read files, and to answer.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// A configuration as the supervisor has it, and how signers are started with it.
#[derive(Clone, Debug)]
pub struct SignerPlan {
    /// Of what the front end is given: the supervisor does not see the rest.
    config: Config,
    front_end_text: Arc<str>,
    /// The whole, for the signers.
    sealed: Arc<OwnedFd>,
    /// Of each signer.
    channels: Arc<[usize]>,
    watched: Arc<[WatchedName]>,
    launcher: Arc<ProcessLauncher>,
}

impl SignerPlan {
    /// Has the configuration file read, in a process of its own, and makes a plan of it. The signers and front ends of this plan
    /// use what was read, even if the file changes. `running` is the text that the running front end was started with.
    ///
    /// # Errors
    /// The file cannot be read, a field is wrong, or the running front end cannot use it.
    pub fn read(
        launcher: &Arc<ProcessLauncher>,
        path: &Path,
        running: Option<&str>,
    ) -> Result<Self, SignerError> {
        let read = ReadConfiguration::of(launcher, running)?;
        let text = ConfigText::inherited_or_read(Some(read.front_end_text), path)?;
        Ok(Self {
            config: text.parse()?,
            front_end_text: text.text,
            sealed: Arc::new(read.sealed),
            channels: read.channels.into(),
            watched: read.watched.into(),
            launcher: Arc::clone(launcher),
        })
    }

    /// What the front end is given of the configuration: token, PIN, records and audit are stand-ins.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The text of [`Self::config`].
    pub(super) fn front_end_text(&self) -> &Arc<str> {
        &self.front_end_text
    }

    /// What makes the proxy reload when it is replaced.
    pub(super) fn watched(&self) -> &Arc<[WatchedName]> {
        &self.watched
    }

    pub(super) fn launcher(&self) -> &Arc<ProcessLauncher> {
        &self.launcher
    }

    /// Starts the signers; returns the front end's ends of their channels.
    pub(super) fn start(&self) -> Result<(SignerGroup, Vec<OwnedFd>), SignerError> {
        let start = |token| SignerStart::ByLauncher {
            launcher: Arc::clone(&self.launcher),
            configuration: Arc::clone(&self.sealed),
            token,
        };
        SignerGroup::start((0..).map(start).zip(self.channels.iter().copied()))
    }

    /// How long the front end may take to answer the offer of this signer: until it has proved the signer's key, or knows
    /// why there is none.
    pub(super) fn answer_timeout(&self) -> Duration {
        let opened = self.config.start_time(START_STEPS);
        opened + self.config.longest_timeout() * 2 + ANSWER_MARGIN
    }

    /// The longest time that handshakes with the signer before may still take.
    pub(super) fn drain_timeout(&self) -> Duration {
        self.config.hub.connect_timeout + ANSWER_MARGIN
    }
}
