//! The plan for a signer process of the proxy: its configuration, its command, and the timeouts of a reload with it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::signer_supervisor::{Launch, SupervisedSigner};
use super::{START_STEPS, SignerError, channels};
use crate::config::pin::PinSource;
use crate::config::{Config, ConfigText};

/// The front end's time beyond the configured timeouts: to read files, and to answer.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// A configuration, and the command that starts a signer with it.
#[derive(Clone, Debug)]
pub struct SignerPlan {
    pub(super) config: Config,
    /// What the front end is given of the configuration.
    pub(super) front_end_text: Arc<str>,
    pub(super) launch: Launch,
}

impl SignerPlan {
    /// A plan for the configuration in `text`. The processes use this text, even if its file changes.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn of(
        text: &ConfigText,
        launch: impl FnOnce(&Config) -> Launch,
    ) -> Result<Self, SignerError> {
        let config = text.check()?;
        let launch = Launch {
            configuration: Some(Arc::clone(&text.text)),
            ..launch(&config)
        };
        Ok(Self {
            front_end_text: text.for_front_end()?.into(),
            config,
            launch,
        })
    }

    /// Starts a signer; returns the front end's ends of its channels.
    pub(super) fn start(&self) -> Result<(SupervisedSigner, Vec<OwnedFd>), SignerError> {
        SupervisedSigner::start(self.launch.clone(), channels(&self.config))
    }

    /// How long the front end may take to answer the offer of this signer: until it has proved the signer's key, or knows
    /// why there is none.
    pub(super) fn answer_timeout(&self) -> Duration {
        let token = &self.config.token;
        token.start_timeout * START_STEPS + token.timeout * 2 + ANSWER_MARGIN
    }

    /// The longest time that handshakes with the signer before may still take.
    pub(super) fn drain_timeout(&self) -> Duration {
        self.config.hub.connect_timeout + ANSWER_MARGIN
    }
}

/// Checks that the signer can read the PIN at each restart, and that the front end cannot.
pub(super) fn check_pin_source(source: &PinSource) -> Result<(), SignerError> {
    let why = match source {
        PinSource::Env(_) => {
            "every process that is started from here has the variable, the one that parses the network too"
        }
        PinSource::Prompt | PinSource::ProtectedPath => {
            "nobody is there when the signer process is started again"
        }
        PinSource::File(_)
        | PinSource::Credential(_)
        | PinSource::Command(_)
        | PinSource::Empty
        | PinSource::None => return Ok(()),
    };
    Err(SignerError::PinSource {
        pin_source: source.clone(),
        why,
    })
}
