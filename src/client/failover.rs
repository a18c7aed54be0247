//! Several tokens that hold a key for the connections: which one signs is decided anew for each connection, and the next one is
//! asked at once where a token is down, slow or refuses.
//!
//! Where their certificates differ, so does the ClientHello's fate: a handshake belongs to one identity. So the next token gets a
//! connection of its own to the hub, within the deadline of the first.

mod breaker;
pub mod key_tokens;
mod shares;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::{sleep, timeout};

use breaker::Breaker;
pub use breaker::Open;
use shares::{Fitness, Share, Shares};

use super::ClientError;
use super::connector::{Connection, Connector};
use crate::certificate::{Certificate, CertificateError};
use crate::config::Config;
use crate::config::origin::Origin;
use crate::diagnostic::Diagnostic as _;
use crate::engine::{EngineError, Purpose, ReportedError, challenge_async};
use crate::log_target;
use crate::metrics;
use crate::poison::IgnorePoison as _;
use crate::signer::{RemoteKey, SignerError, SignerHealth};
use crate::tls::TlsError;

/// The tokens that hold a key for the connections of a connector.
#[derive(Debug)]
pub struct Failover {
    members: Vec<Arc<Member>>,
    shares: Mutex<Shares>,
}

/// One of the tokens.
struct Member {
    name: Arc<str>,
    share: Share,
    failover_after: Duration,
    breaker: Breaker,
    /// Set when its key is proved to be that of its certificate.
    proved: OnceLock<Proved>,
    /// Why it is not proved yet, and what helps.
    unproved: Mutex<Option<ReportedError>>,
}

/// What makes connections with a token.
struct Proved {
    connector: Connector,
    signer: Arc<RemoteKey>,
    leaf: Certificate,
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// Its `name`.
    pub name: Arc<str>,
    /// Why it is not asked, and what helps; `None` if it is.
    pub problem: Option<ReportedError>,
    /// Since when it does not sign, RFC 3339, if it did before.
    pub since: Option<String>,
    /// Its signer process, if its key was proved to be that of its certificate.
    pub signer: Option<Arc<RemoteKey>>,
}

impl TokenState {
    /// The health of its signer process, if that has a key. Blocks for at most a second.
    ///
    /// # Errors
    /// The signer does not answer.
    pub fn health(&self) -> Option<Result<SignerHealth, EngineError>> {
        self.signer.as_ref().map(|signer| signer.health())
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("share", &self.share)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl Failover {
    /// The tokens of these configurations, none of which is proved yet.
    fn new(of_each: &[Config]) -> Arc<Self> {
        let member = |config: &Config| {
            let name: Arc<str> = config.token.name.as_deref().unwrap_or_default().into();
            Arc::new(Member {
                name,
                share: Share {
                    priority: config.token.priority,
                    weight: config.token.weight,
                },
                failover_after: config.token.failover_after,
                breaker: Breaker::default(),
                proved: OnceLock::new(),
                unproved: Mutex::new(None),
            })
        };
        let members: Vec<_> = of_each.iter().map(member).collect();
        let shares = Shares::new(members.iter().map(|member| member.share).collect());
        Arc::new(Self {
            members,
            shares: Mutex::new(shares),
        })
    }

    fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// What is known of each token, in the order of the configuration.
    pub fn states(&self) -> Vec<TokenState> {
        let states = self.members.iter().map(|member| member.state());
        states.collect()
    }

    /// Connects with the token whose turn it is, or else with the next.
    ///
    /// # Errors
    /// That of the hub or of the network; or, where no token signs, that of the last one.
    pub(super) async fn connect(
        self: &Arc<Self>,
        asked: &Connector,
        origin: &Origin,
        interaction_id: Option<&str>,
    ) -> Result<Connection, ClientError> {
        let deadline = asked.deadline();
        let order = self.order();
        let mut last = None;
        for (place, (member, fitness)) in order.iter().enumerate() {
            let Some(proved) = member.proved.get() else {
                continue;
            };
            // The last one that is good has the whole time that is left: behind it are those that did not sign.
            let later = order.get(place + 1..).unwrap_or_default();
            let next = later.first().map(|(_, fitness)| *fitness);
            let is_next_asked = next == Some(Fitness::Good) || *fitness != Fitness::Good;
            let wait = (next.is_some() && is_next_asked).then_some(member.failover_after);
            let connector = proved.connector.as_asked(asked, wait);
            let connecting = connector.connect_until(origin, interaction_id, deadline);
            let error = match Box::pin(connecting).await {
                Ok(connection) => {
                    if connection.resumed().is_none() {
                        metrics::connection_of_token(&member.name);
                    }
                    return Ok(connection);
                }
                Err(error) => error,
            };
            let Some(of_token) = signature_error(&error) else {
                return Err(error);
            };
            self.failed(member, of_token, &error);
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| no_token(&self.members)))
    }

    /// The tokens in the order in which they are to be asked.
    fn order(&self) -> Vec<(Arc<Member>, Fitness)> {
        let now = SystemTime::now();
        let fitness = |number: usize| self.members.get(number).and_then(|it| it.fitness(now));
        let order = self.shares.lock().ignore_poison().order(fitness);
        let members = order.into_iter().filter_map(|(number, fitness)| {
            let member = self.members.get(number)?;
            Some((Arc::clone(member), fitness))
        });
        members.collect()
    }

    /// A token did not sign. It is probed from now on, by a task that ends with this.
    fn failed(self: &Arc<Self>, member: &Arc<Member>, why: &EngineError, error: &ClientError) {
        // There is much to do, which does not say that the token is down.
        if ["queue-full", "rate"].contains(&why.class()) {
            return;
        }
        if !member.breaker.failed(why.into()) {
            return;
        }
        tracing::warn!(target: log_target::LIFECYCLE, token = &*member.name, %error, hint = error.hint(), "a token does not sign: the others are asked");
        let failover = Arc::downgrade(self);
        let member = Arc::downgrade(member);
        tokio::spawn(probe(failover, member));
    }

    fn is_back(&self, member: &Member) {
        if !member.breaker.close() {
            return;
        }
        let number = self.members.iter().position(|it| it.name == member.name);
        if let Some(number) = number {
            self.shares.lock().ignore_poison().start_anew(number);
        }
        tracing::warn!(target: log_target::LIFECYCLE, token = &*member.name, "a token signs again: it has its share of the connections");
    }
}

impl Member {
    /// The token can be used from now on.
    fn is_proved(&self, connector: Connector, signer: Arc<RemoteKey>, leaf: Certificate) {
        *self.unproved.lock().ignore_poison() = None;
        let proved = Proved {
            connector,
            signer,
            leaf,
        };
        // It is proved once.
        let _ = self.proved.set(proved);
    }

    /// The token cannot be used yet.
    fn is_unproved(&self, why: ReportedError) {
        *self.unproved.lock().ignore_poison() = Some(why);
    }

    /// `None` before its key is proved.
    fn fitness(&self, now: SystemTime) -> Option<Fitness> {
        self.proved.get()?;
        Some(match (self.time_error(now), self.breaker.is_closed()) {
            (Some(_), _) => Fitness::OutOfTime,
            (None, false) => Fitness::DidNotSign,
            (None, true) => Fitness::Good,
        })
    }

    /// Its certificate, once its key is proved to be that of it.
    fn leaf(&self) -> Option<Certificate> {
        self.proved.get().map(|proved| proved.leaf.clone())
    }

    /// Why its certificate is not valid now.
    fn time_error(&self, now: SystemTime) -> Option<CertificateError> {
        self.proved.get()?.leaf.check_client(now).err()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> TokenState {
        let proved = self.proved.get();
        let open = self.breaker.open();
        let unproved = || {
            let why = self.unproved.lock().ignore_poison().clone();
            why.unwrap_or_else(|| EngineError::Stopped.into())
        };
        TokenState {
            name: Arc::clone(&self.name),
            problem: match &open {
                Some(open) => Some(open.why.clone()),
                None if proved.is_some() => self
                    .time_error(SystemTime::now())
                    .map(|error| ReportedError::of(SignerError::Identity(error.into()))),
                None => Some(unproved()),
            },
            since: open.map(|open| open.since),
            signer: proved.map(|proved| Arc::clone(&proved.signer)),
        }
    }
}

/// The reason why the token did not sign, if that is why there is no connection.
fn signature_error(error: &ClientError) -> Option<&EngineError> {
    match error {
        ClientError::Tls(TlsError::Signature(why)) => Some(why),
        _ => None,
    }
}

/// Where no key was proved: why that of the first was not.
fn no_token(members: &[Arc<Member>]) -> ClientError {
    let why = |member: &Arc<Member>| member.unproved.lock().ignore_poison().clone();
    let error = match members.iter().find_map(why) {
        Some(error) => EngineError::Reported(Box::new(error)),
        None => EngineError::Stopped,
    };
    ClientError::Tls(TlsError::Signature(Arc::new(error)))
}

/// Has a token sign challenges until one is good.
async fn probe(failover: Weak<Failover>, member: Weak<Member>) {
    loop {
        let delay = match member.upgrade() {
            Some(member) => member.breaker.next_probe(),
            None => return,
        };
        let Some(delay) = delay else {
            return;
        };
        sleep(delay).await;
        let (Some(failover), Some(member)) = (failover.upgrade(), member.upgrade()) else {
            return;
        };
        let Some(proved) = member.proved.get() else {
            return;
        };
        let signer = Arc::clone(&proved.signer);
        // As long as a connection would wait for it: one that is slow is not good yet.
        let challenge = challenge_async(&*signer, Purpose::Proof);
        match timeout(member.failover_after, challenge).await {
            Ok(Ok(_)) => return failover.is_back(&member),
            Ok(Err(error)) => {
                member.breaker.failed(error.into());
            }
            // Why it failed at first is known.
            Err(_) => {}
        }
    }
}
