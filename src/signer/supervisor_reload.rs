//! The supervisor's side of a reload: it replaces the signer of a running front end. The new signer is started beside the
//! old one; the old one is stopped when the new one is in use and no handshake uses the old one any more.
//!
//! The front end accepts or rejects the new signer, because it proves that certificate and key belong together. It parses
//! the network, so the supervisor does not trust it: an unexpected answer ends the front end, a missing answer ends the
//! new signer, there is one offer at a time, and there are never more than two signers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::SignerError;
use super::reload_protocol::{self, OfferAnswer};
use super::signer_group::SignerGroup;
use super::signer_plan::SignerPlan;
use super::watched_name::WatchedName;
use crate::diagnostic::Diagnostic as _;
use crate::engine::ReportedError;
use crate::log_target::LIFECYCLE;

/// The timeout of the answer to an offer without a new signer.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The target of this module's log events, which operators filter by: the module's name may change, the target not.
const LOG_TARGET: &str = "hsm_mtls::signer::reload";

/// The front end sent an answer that no offer in progress has.
#[derive(Debug, thiserror::Error)]
#[error("the front end said of a reload what nobody asked it: {0}")]
pub(super) struct ProtocolViolation(&'static str);

/// A plan, the signer that was started with it, and the front end's ends of the signer's channels.
type Prepared = Result<(SignerPlan, SignerGroup, Vec<OwnedFd>), SignerError>;

/// The progress of a reload.
enum ReloadStage {
    Idle,
    /// The configuration is read, and a signer started with it.
    Preparing(oneshot::Receiver<Prepared>),
    /// The front end has not answered the offer yet. `new` is `None` if there is no new signer.
    Offered {
        new: Option<(Box<SignerPlan>, SignerGroup)>,
        until: Instant,
    },
    /// The new signer is in use; the old one finishes the handshakes that began with it.
    Draining {
        old: SignerGroup,
        until: Instant,
    },
    /// One of the two signers is ending.
    Stopping(oneshot::Receiver<()>),
}

/// What a reload waits for.
enum Event {
    Message(io::Result<Option<Vec<u8>>>),
    Timeout,
    SignerEnded,
    Prepared(Box<Prepared>),
    NewPin,
}

/// The signer of a running front end, and its replacement during a reload.
pub(super) struct SignerReload<'a> {
    control: UnixDatagram,
    /// The front end has closed its end, or has violated the protocol.
    control_closed: bool,
    path: &'a Path,
    /// The configuration that the front end was started with: its sandbox is of that.
    started_with: Arc<str>,
    plan: SignerPlan,
    signer: SignerGroup,
    stage: ReloadStage,
    /// Another reload was requested during this one.
    requested_again: bool,
    /// The id of the last offer.
    id: u64,
    /// Offers that timed out and may be answered later.
    expired: Vec<u64>,
    /// What is to be watched from now on. `None`: what was.
    watched: Option<Arc<[WatchedName]>>,
}

impl<'a> SignerReload<'a> {
    pub(super) fn new(
        control: OwnedFd,
        path: &'a Path,
        plan: SignerPlan,
        signer: SignerGroup,
    ) -> Result<Self, SignerError> {
        Ok(Self {
            control: reload_protocol::async_socket(control)
                .map_err(|error| SignerError::handover(&error))?,
            control_closed: false,
            path,
            started_with: Arc::clone(plan.front_end_text()),
            plan,
            signer,
            stage: ReloadStage::Idle,
            requested_again: false,
            id: 0,
            expired: Vec::new(),
            watched: None,
        })
    }

    /// Requests a reload. Requests during a reload cause one more after it, however many they are.
    pub(super) fn request(&mut self) {
        match self.stage {
            ReloadStage::Idle => self.prepare(),
            _ => self.requested_again = true,
        }
    }

    /// What is to be watched from now on, once after each configuration that was read: folders may be others now, also where the
    /// reload failed.
    pub(super) fn take_watched(&mut self) -> Option<Arc<[WatchedName]>> {
        self.watched.take()
    }

    /// Stops the signers; returns the plan for the next front end.
    pub(super) fn into_plan(self) -> SignerPlan {
        if !matches!(self.stage, ReloadStage::Idle) {
            tracing::error!(
                target: LOG_TARGET,
                "the front end ended during a reload: what was in use goes on; reload once more"
            );
        }
        self.plan
    }

    /// Waits for the next event of a reload and handles it.
    pub(super) async fn step(&mut self) -> Result<(), ProtocolViolation> {
        let until = match &self.stage {
            ReloadStage::Offered { until, .. } | ReloadStage::Draining { until, .. } => {
                Some(*until)
            }
            ReloadStage::Idle | ReloadStage::Preparing(_) | ReloadStage::Stopping(_) => None,
        };
        let event = tokio::select! {
            message = reload_protocol::receive_message(&self.control), if !self.control_closed => {
                Event::Message(message)
            }
            () = sleep_to(until) => Event::Timeout,
            event = thread_ended(&mut self.stage) => event,
            () = self.signer.new_pin() => Event::NewPin,
        };
        match event {
            Event::Message(Ok(Some(message))) => {
                let handled = self.on_message(&message);
                self.control_closed |= handled.is_err();
                handled?;
            }
            // The front end's exit is handled in `front_end_supervisor`.
            Event::Message(_) => self.control_closed = true,
            Event::Timeout => self.on_timeout(),
            Event::Prepared(prepared) => self.offer(*prepared),
            Event::NewPin => {
                tracing::info!(target: LIFECYCLE, "the PIN file was replaced: reload");
                self.request();
            }
            Event::SignerEnded => {
                self.stage = ReloadStage::Idle;
                if std::mem::take(&mut self.requested_again) {
                    self.prepare();
                }
            }
        }
        Ok(())
    }

    /// Has the configuration read and a signer started, on a thread of its own: either may take long, and signals and the
    /// front end are attended to meanwhile. Where the result is not wanted any more, it is dropped there, and the signer ends.
    fn prepare(&mut self) {
        let (notify, prepared) = oneshot::channel();
        let launcher = Arc::clone(self.plan.launcher());
        let (path, running) = (self.path.to_owned(), Arc::clone(&self.started_with));
        let prepare = move || {
            let read = SignerPlan::read(&launcher, &path, Some(&*running));
            let started = read.and_then(|plan| {
                let (signer, channels) = plan.start()?;
                Ok((plan, signer, channels))
            });
            let _ = notify.send(started);
        };
        let thread = thread::Builder::new().name("hsm-reload".to_owned());
        match thread.spawn(prepare) {
            Ok(_) => self.stage = ReloadStage::Preparing(prepared),
            Err(error) => self.offer(Err(SignerError::handover(&error))),
        }
    }

    fn offer(&mut self, prepared: Prepared) {
        self.id += 1;
        let plan = prepared.as_ref().map_or(&self.plan, |(plan, ..)| plan);
        self.watched = Some(Arc::clone(plan.watched()));
        let prepared = prepared.map_err(ReportedError::of);
        let offered = match &prepared {
            Ok((plan, _, channels)) => Ok((&**plan.front_end_text(), &channels[..])),
            Err(error) => Err(error),
        };
        let sent = reload_protocol::send_offer(self.control.as_fd(), self.id, offered);
        let timeout = match &prepared {
            Ok((plan, ..)) => plan.answer_timeout(),
            Err(_) => REJECTION_TIMEOUT,
        };
        // The channels are closed in this process: the front end has its own descriptors of them now.
        let new = prepared
            .ok()
            .map(|(plan, signer, _)| (Box::new(plan), signer));
        match sent {
            Ok(()) => {
                let until = Instant::now() + timeout;
                self.stage = ReloadStage::Offered { new, until };
            }
            Err(error) => {
                let why = error.to_string();
                let error = SignerError::NoOffer { why };
                tracing::error!(target: LOG_TARGET, %error, hint = error.hint(), "NOT reloaded: everything stays as it was");
                self.stop(new.map(|(_, signer)| signer));
            }
        }
    }

    fn on_message(&mut self, message: &[u8]) -> Result<(), ProtocolViolation> {
        let Some((answer, id)) = reload_protocol::decode_answer(message) else {
            return Err(ProtocolViolation("no word at all"));
        };
        let expired = self.expired.iter().position(|expired| *expired == id);
        if let (OfferAnswer::Rejected, Some(position)) = (answer, expired) {
            self.expired.swap_remove(position);
            return Ok(());
        }
        if id != self.id {
            return Err(ProtocolViolation("an offer that there is not"));
        }
        match (
            answer,
            std::mem::replace(&mut self.stage, ReloadStage::Idle),
        ) {
            (
                OfferAnswer::Accepted,
                ReloadStage::Offered {
                    new: Some((plan, signer)),
                    ..
                },
            ) => {
                let timeout = plan.drain_timeout();
                self.plan = *plan;
                let old = std::mem::replace(&mut self.signer, signer);
                let until = Instant::now() + timeout;
                self.stage = ReloadStage::Draining { old, until };
            }
            (OfferAnswer::Rejected, ReloadStage::Offered { new, .. }) => {
                self.stop(new.map(|(_, signer)| signer));
            }
            (OfferAnswer::Released, ReloadStage::Draining { old, .. }) => self.stop(Some(old)),
            (answer, stage) => {
                self.stage = stage;
                return Err(ProtocolViolation(match answer {
                    OfferAnswer::Accepted => "Taken",
                    OfferAnswer::Rejected => "Kept",
                    OfferAnswer::Released => "LetGo",
                }));
            }
        }
        Ok(())
    }

    fn on_timeout(&mut self) {
        match std::mem::replace(&mut self.stage, ReloadStage::Idle) {
            ReloadStage::Offered { new, .. } => {
                tracing::error!(
                    target: LOG_TARGET,
                    hint = "look at what stands above, and reload once more; where it stays silent, restart the proxy",
                    "NOT reloaded: the front end does not answer; everything stays as it was"
                );
                self.expired.push(self.id);
                self.stop(new.map(|(_, signer)| signer));
            }
            ReloadStage::Draining { old, .. } => {
                tracing::warn!(target: LOG_TARGET, "the signer before is ended, although it may yet be signed with");
                self.stop(Some(old));
            }
            stage => self.stage = stage,
        }
    }

    /// Stops a signer on a thread of its own, because that takes seconds; the signer in use is supervised meanwhile.
    fn stop(&mut self, signer: Option<SignerGroup>) {
        let (notify, ended) = oneshot::channel();
        let stop = move || {
            drop(signer);
            // Fails if the reload was dropped meanwhile.
            let _ = notify.send(());
        };
        let thread = thread::Builder::new().name("hsm-farewell".to_owned());
        if let Err(error) = thread.spawn(stop) {
            // The signer was ended when the closure was dropped, on this thread.
            tracing::warn!(target: LOG_TARGET, %error, "no thread to end a signer on");
        }
        self.stage = ReloadStage::Stopping(ended);
    }
}

pub(super) async fn sleep_to(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for the thread of this stage.
async fn thread_ended(stage: &mut ReloadStage) -> Event {
    match stage {
        // An error means that the sender was dropped with its thread: the signer has ended as well.
        ReloadStage::Stopping(ended) => {
            let _ = ended.await;
            Event::SignerEnded
        }
        // An error means that the thread has panicked, which was logged.
        ReloadStage::Preparing(prepared) => {
            let failed = |error| Err(SignerError::handover(&error));
            Event::Prepared(Box::new(prepared.await.unwrap_or_else(failed)))
        }
        _ => std::future::pending().await,
    }
}
