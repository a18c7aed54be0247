//! A rotation as a step finds it: the configuration, the state on disk, which of the two pairs the configuration names, and the
//! record of each step in the ledger.

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::config::{
    CertificateSource, Config, ConfigText, KeyAndCertificate, KeyRole,
};
use hsm_mtls::internal::ledger::lock::FileLock;
use hsm_mtls::internal::ledger::{Entry, Process, Recorder, RotationStep};

use super::super::CommandError;
use super::RotationError;
use super::state::{CertificateFacts, Stage, State, StateFile};

/// Whether a step changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Other processes are kept out.
    Write,
}

/// Which pair the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configured {
    Old,
    New,
    Neither,
}

impl Configured {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Neither => "neither",
        }
    }
}

/// The configuration and the state of one role.
pub(super) struct Rotation<'a> {
    /// The whole configuration.
    pub(super) config: &'a Config,
    /// That of the role: its key, certificate and token in the place of those of `[c3]`.
    pub(super) view: &'a Config,
    pub(super) role: KeyRole,
    pub(super) state: Option<State>,
    file: StateFile,
    _lock: Option<FileLock>,
}

impl<'a> Rotation<'a> {
    /// Reads the state.
    ///
    /// # Errors
    /// Another process takes a step, or the state cannot be read.
    pub(super) fn open(
        config: &'a Config,
        view: &'a Config,
        access: Access,
    ) -> Result<Self, CommandError> {
        let file = StateFile::of(view).map_err(CommandError::stage)?;
        let lock = match access {
            Access::Write => Some(file.lock().map_err(CommandError::stage)?),
            Access::Read => None,
        };
        Ok(Self {
            config,
            view,
            role: view.c3.role,
            state: file.load().map_err(CommandError::stage)?,
            file,
            _lock: lock,
        })
    }

    /// The rotation that is under way.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn under_way(&self) -> Result<&State, CommandError> {
        let state = self.state.as_ref();
        state.ok_or_else(|| CommandError::stage(RotationError::NoneUnderWay))
    }

    /// The rotation, which is at one of these stages.
    ///
    /// # Errors
    /// There is none, or it is at another.
    pub(super) fn at(&self, stages: &[Stage]) -> Result<&State, CommandError> {
        let state = self.under_way()?;
        match stages.contains(&state.stage) {
            true => Ok(state),
            false => Err(self.wrong_order(state)),
        }
    }

    /// The error for a step that does not come now, which names the one that does.
    pub(super) fn wrong_order(&self, state: &State) -> CommandError {
        CommandError::stage(RotationError::WrongOrder {
            stage: state.stage.describe().to_owned(),
            next: next_step(state).to_owned(),
        })
    }

    /// The text of the configuration file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn text(&self) -> Result<ConfigText, CommandError> {
        ConfigText::read(&self.config.path).map_err(CommandError::stage)
    }

    /// Which pair the configuration names.
    pub(super) fn configured(&self, state: &State) -> Configured {
        let names = |values: &KeyAndCertificate| {
            let other = self
                .config
                .clone()
                .with_key_and_certificate(self.role, values);
            let named = other.ok().and_then(|other| self.pair_of(&other));
            named.is_some() && named == self.pair_of(self.config)
        };
        match &state.new.written {
            _ if names(&state.old.written) => Configured::Old,
            Some(new) if names(new) => Configured::New,
            _ => Configured::Neither,
        }
    }

    fn pair_of(&self, config: &Config) -> Option<(Pkcs11Uri, CertificateSource)> {
        match self.role {
            KeyRole::C3 => Some((config.c3.key.clone(), config.c3.certificate.clone())),
            KeyRole::Sig4 => {
                let sig4 = config.sig4.as_ref()?;
                Some((sig4.key.clone(), sig4.certificate.clone()))
            }
        }
    }

    /// The error where the configuration names neither pair.
    pub(super) fn third_pair(&self, state: &State) -> CommandError {
        CommandError::stage(RotationError::ThirdPair {
            section: self.role.section(),
            old: state.old.written.lines(),
        })
    }

    /// The same error, or that the configuration names the old pair.
    pub(super) fn third_pair_or_old(&self, state: &State) -> CommandError {
        match self.configured(state) {
            Configured::Old => CommandError::stage(RotationError::WrongOrder {
                stage: "the configuration names the old pair".to_owned(),
                next: "run `hsm-mtls rotate switch` first, or end the rotation with `hsm-mtls rotate back` and `hsm-mtls rotate abandon`"
                    .to_owned(),
            }),
            _ => self.third_pair(state),
        }
    }

    /// The rotation after the configuration was changed.
    pub(super) fn configured_as<'b>(self, config: &'b Config, view: &'b Config) -> Rotation<'b> {
        Rotation {
            config,
            view,
            role: self.role,
            state: self.state,
            file: self.file,
            _lock: self._lock,
        }
    }

    /// The whole configuration with other values for the role.
    ///
    /// # Errors
    /// They are not what the fields take.
    pub(super) fn config_with(&self, values: &KeyAndCertificate) -> Result<Config, CommandError> {
        let config = self.config.clone();
        config
            .with_key_and_certificate(self.role, values)
            .map_err(CommandError::stage)
    }

    /// The view of a configuration for the role.
    pub(super) fn view_of(&self, config: Config) -> Config {
        match self.role {
            KeyRole::C3 => config,
            KeyRole::Sig4 => config.for_sig4().unwrap_or(config),
        }
    }

    /// Writes the state.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&mut self, state: State) -> Result<(), CommandError> {
        self.file.save(&state).map_err(CommandError::stage)?;
        self.state = Some(state);
        Ok(())
    }

    /// The rotation has ended.
    ///
    /// # Errors
    /// The state cannot be removed.
    pub(super) fn end(&mut self) -> Result<(), CommandError> {
        self.file.remove().map_err(CommandError::stage)?;
        self.state = None;
        Ok(())
    }

    /// Records a step before it takes effect. After a crash between both it is recorded once more.
    ///
    /// # Errors
    /// It cannot be recorded, and is not to be taken.
    pub(super) fn record(&self, step: &str, state: &State) -> Result<(), CommandError> {
        let recorder = Recorder::open(self.config.ledger.as_ref()).map_err(CommandError::stage)?;
        let is_about_old = ["back", "retire"].contains(&step);
        let wanted = state
            .new
            .uri
            .clone()
            .or_else(|| state.new.of_ceremony.clone());
        let (key, spki, certificate) = match is_about_old {
            true => (
                state.old.uri.clone(),
                Some(state.old.spki),
                Some(&state.old.certificate),
            ),
            false => (
                wanted.unwrap_or_else(|| state.new.label.clone()),
                state.new.spki,
                state.new.certificate.as_ref(),
            ),
        };
        let entry = Entry::Rotation(RotationStep {
            role: self.role.section(),
            step,
            key: &key,
            spki,
            certificate: certificate.map(|facts| facts.fingerprint),
            process: Process::current(),
        });
        recorder.record(&entry).map_err(CommandError::stage)
    }
}

impl CertificateFacts {
    pub(super) fn of(certificate: &Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint(),
            x5t_s256: certificate.x5t_s256(),
            not_after: certificate.not_after(),
        }
    }
}

/// What comes next, as advice for a person.
pub(super) fn next_step(state: &State) -> &'static str {
    match state.stage {
        Stage::Begun => {
            "go on with `hsm-mtls rotate start`, which finds what is there of the new key"
        }
        Stage::Requested => {
            "have the request certified (`hsm-mtls rotate start` prints it again), and give the certificate to `hsm-mtls rotate install`"
        }
        Stage::Installed => "run `hsm-mtls rotate test`",
        Stage::Tested => "run `hsm-mtls rotate switch`",
        Stage::Switched => {
            "reload the proxy; then `hsm-mtls rotate retire` ends the rotation, and `hsm-mtls rotate back` goes back"
        }
        Stage::Retiring => "run `hsm-mtls rotate retire` again, which ends it",
    }
}
