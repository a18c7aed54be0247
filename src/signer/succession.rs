//! One signer after another, under a front end that goes on: the new one is started beside the old, and the
//! old one ends when the new one is in use and nobody signs with the old any more.
//!
//! The front end decides, because it is the one that proves the pair; and it parses the network, so it
//! is not believed: an answer that nobody asked for ends it, one that does not come ends the new signer,
//! there is one offer at a time, and there are never more than two signers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::front::fit;
use super::offer::{self, Word};
use super::sandbox::Sandbox;
use super::supervisor::{Launch, Supervised};
use super::{STARTS, SignerError, channels};
use crate::config::{Config, ConfigText};
use crate::engine::ReportedError;
use crate::error::Error;

/// What a front end may take beyond what the token may: to read files, and to answer.
const BEYOND: Duration = Duration::from_secs(5);
/// How long it may take to hear that there is no other signer.
const REFUSAL: Duration = Duration::from_secs(30);

/// A configuration, and how a signer is started that goes by it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) config: Config,
    pub(super) text: Arc<str>,
    pub(super) signer: Launch,
}

impl Plan {
    /// The processes go by `text` from now on, whatever becomes of its file.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn of(text: &ConfigText, launch: impl FnOnce(&Config) -> Launch) -> Result<Self, Error> {
        let config = text.check()?;
        let signer = Launch {
            configuration: Some(Arc::clone(&text.text)),
            ..launch(&config)
        };
        let text = Arc::clone(&text.text);
        Ok(Self {
            config,
            text,
            signer,
        })
    }

    pub(super) fn start(&self) -> Result<(Supervised, Vec<OwnedFd>), SignerError> {
        Supervised::start(self.signer.clone(), channels(&self.config))
    }

    /// How long the front end may take until it has proved this signer, or has been told why it has no key.
    fn patience(&self) -> Duration {
        let token = &self.config.token;
        token.start_timeout * STARTS + token.timeout * 2 + BEYOND
    }
}

/// The front end said what it must not.
#[derive(Debug, thiserror::Error)]
#[error("the front end said of a reload what nobody asked it: {0}")]
pub(super) struct Breach(String);

/// Where a reload is.
enum Stage {
    Idle,
    /// The front end has not answered yet. `new` is none where there is no other signer.
    Offered {
        new: Option<(Box<Plan>, Supervised)>,
        until: Instant,
    },
    /// The new one is in use; the old one signs what was under way.
    Leaving {
        old: Supervised,
        until: Instant,
    },
    /// One of the two is ending.
    Ending(oneshot::Receiver<()>),
}

/// The signer of a front end, and the one that is to follow it.
pub(super) struct Succession<'a> {
    control: UnixDatagram,
    /// The front end has closed its side, or is no longer listened to.
    deaf: bool,
    read: &'a dyn Fn() -> Result<Plan, Error>,
    walls: Sandbox,
    plan: Plan,
    signer: Supervised,
    stage: Stage,
    /// It was asked for again meanwhile.
    again: bool,
    /// The last offer.
    id: u64,
    /// Offers that were given up, and may yet be answered.
    void: Vec<u64>,
}

impl<'a> Succession<'a> {
    pub(super) fn new(
        control: OwnedFd,
        read: &'a dyn Fn() -> Result<Plan, Error>,
        plan: Plan,
        signer: Supervised,
    ) -> Result<Self, SignerError> {
        Ok(Self {
            control: offer::watched(control).map_err(|error| SignerError::handover(&error))?,
            deaf: false,
            read,
            walls: Sandbox::of_front_end(&plan.config)?,
            plan,
            signer,
            stage: Stage::Idle,
            again: false,
            id: 0,
            void: Vec::new(),
        })
    }

    /// Somebody asks for a reload. One that is under way is followed by one more, however often.
    pub(super) fn asked(&mut self) {
        match self.stage {
            Stage::Idle => self.offer(),
            _ => self.again = true,
        }
    }

    /// What a front end of the next is to go by. Ends the signers that there are.
    pub(super) fn into_plan(self) -> Plan {
        if !matches!(self.stage, Stage::Idle) {
            tracing::error!(
                "the front end ended during a reload: what was in use goes on; reload once more"
            );
        }
        self.plan
    }

    /// Waits for the next thing to happen, and sees to it.
    pub(super) async fn step(&mut self) -> Result<(), Breach> {
        enum Event {
            Said(std::io::Result<Option<Vec<u8>>>),
            Late,
            Ended,
        }
        let until = match &self.stage {
            Stage::Offered { until, .. } | Stage::Leaving { until, .. } => Some(*until),
            Stage::Idle | Stage::Ending(_) => None,
        };
        let event = tokio::select! {
            said = offer::hear(&self.control), if !self.deaf => Event::Said(said),
            () = at(until) => Event::Late,
            () = ended(&mut self.stage) => Event::Ended,
        };
        match event {
            Event::Said(Ok(Some(said))) => {
                let heard = self.heard(&said);
                self.deaf |= heard.is_err();
                heard?;
            }
            // How it ended is told where it is waited for.
            Event::Said(_) => self.deaf = true,
            Event::Late => self.late(),
            Event::Ended => {
                self.stage = Stage::Idle;
                if std::mem::take(&mut self.again) {
                    self.offer();
                }
            }
        }
        Ok(())
    }

    fn offer(&mut self) {
        self.id += 1;
        let prepared = self.prepare().map_err(ReportedError::of);
        let made = match &prepared {
            Ok((plan, _, channels)) => Ok((&*plan.text, &channels[..])),
            Err(told) => Err(told),
        };
        let sent = offer::make(self.control.as_fd(), self.id, made);
        let until = match &prepared {
            Ok((plan, ..)) => plan.patience(),
            Err(_) => REFUSAL,
        };
        // The ends that the front end has by now are its own.
        let new = prepared
            .ok()
            .map(|(plan, signer, _)| (Box::new(plan), signer));
        match sent {
            Ok(()) => {
                let until = Instant::now() + until;
                self.stage = Stage::Offered { new, until };
            }
            Err(error) => {
                let why = error.to_string();
                let error = SignerError::NoOffer { why };
                tracing::error!(%error, hint = error.hint(), "NOT reloaded: everything stays as it was");
                self.end(new.map(|(_, signer)| signer));
            }
        }
    }

    /// A signer as the file asks for it now, where a running front end can go by that file.
    fn prepare(&self) -> Result<(Plan, Supervised, Vec<OwnedFd>), Error> {
        let plan = (self.read)()?;
        if let Some(what) = self.plan.config.needs_restart(&plan.config) {
            return Err(SignerError::NeedsRestart { what }.into());
        }
        fit(&plan.config.token.pin)?;
        self.walls.fits(&plan.config)?;
        let (signer, channels) = plan.start()?;
        Ok((plan, signer, channels))
    }

    fn heard(&mut self, said: &[u8]) -> Result<(), Breach> {
        let breach = |what: &str| Err(Breach(what.to_owned()));
        let Some((word, id)) = offer::read_word(said) else {
            return breach("no word at all");
        };
        let given_up = self.void.iter().position(|void| *void == id);
        if let (Word::Kept, Some(at)) = (word, given_up) {
            self.void.swap_remove(at);
            return Ok(());
        }
        if id != self.id {
            return breach("an offer that there is not");
        }
        match (word, std::mem::replace(&mut self.stage, Stage::Idle)) {
            (
                Word::Taken,
                Stage::Offered {
                    new: Some((plan, signer)),
                    ..
                },
            ) => {
                let patience = plan.config.hub.connect_timeout + BEYOND;
                self.plan = *plan;
                let old = std::mem::replace(&mut self.signer, signer);
                let until = Instant::now() + patience;
                self.stage = Stage::Leaving { old, until };
            }
            (Word::Kept, Stage::Offered { new, .. }) => self.end(new.map(|(_, signer)| signer)),
            (Word::LetGo, Stage::Leaving { old, .. }) => self.end(Some(old)),
            (word, stage) => {
                self.stage = stage;
                return breach(&format!("{word:?}"));
            }
        }
        Ok(())
    }

    fn late(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Offered { new, .. } => {
                tracing::error!(
                    hint = "look at what stands above, and reload once more; where it stays silent, restart the proxy",
                    "NOT reloaded: the front end does not answer; everything stays as it was"
                );
                self.void.push(self.id);
                self.end(new.map(|(_, signer)| signer));
            }
            Stage::Leaving { old, .. } => {
                tracing::warn!("the signer before is ended, although it may yet be signed with");
                self.end(Some(old));
            }
            stage => self.stage = stage,
        }
    }

    /// Ends a signer, which takes seconds at the most; the one that is in use is looked after meanwhile.
    fn end(&mut self, signer: Option<Supervised>) {
        let (tell, told) = oneshot::channel();
        let ending = move || {
            drop(signer);
            // Nobody may wait for it any more.
            let _ = tell.send(());
        };
        let thread = thread::Builder::new().name("hsm-farewell".to_owned());
        if let Err(error) = thread.spawn(ending) {
            // It was ended with the closure, on this thread.
            tracing::warn!(%error, "no thread to end a signer on");
        }
        self.stage = Stage::Ending(told);
    }
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

async fn ended(stage: &mut Stage) {
    match stage {
        // Its sender may have been dropped with the thread: over as well.
        Stage::Ending(told) => drop(told.await),
        _ => std::future::pending().await,
    }
}
