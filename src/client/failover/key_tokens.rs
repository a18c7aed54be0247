//! Opens several tokens that hold a key for the connections, each with a signer process of its own: proves that each key is that of
//! its certificate, and makes a connector of all. One of two that is away delays nothing: it is taken in when its key is proved.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failover, TokenState};
use crate::backoff::Backoff;
use crate::certificate::Certificate;
use crate::client::connector::Connector;
use crate::config::Config;
use crate::diagnostic::Diagnostic as _;
use crate::engine::{EngineError, ReportedError};
use crate::exit_code::ExitCode;
use crate::identity::same_client::{conflict, leaf_in_file};
use crate::identity::{Identity, IdentityFiles, Validity};
use crate::log_target;
use crate::metrics;
use crate::signer::{RemoteKey, SignerChannels, SignerError, channels_of_each};
use crate::tls::{Tls, TlsError};

/// How long the others are waited for when the first key is proved.
const GRACE: Duration = Duration::from_secs(2);
/// The delays between attempts to take in a token that was away at the start. The signer process has its own delays for the token.
const ATTEMPTS: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));

/// The same where something in the configuration was wrong.
const AFTER_A_MISTAKE: Duration = Duration::from_secs(10);

/// Tokens that hold a key for the connections, of which at least one key is proved.
#[derive(Clone)]
pub struct KeyTokens {
    /// Makes connections with the token whose turn it is.
    pub connector: Connector,
    /// The first token whose key was proved.
    pub first: ProvedKey,
    failover: Arc<Failover>,
}

/// A token's key, proved to be that of its certificate.
#[derive(Clone)]
pub struct ProvedKey {
    /// The signer process.
    pub key: Arc<RemoteKey>,
    /// Chain and key.
    pub identity: Arc<Identity>,
    connector: Connector,
}

/// A key that was proved, or why it is not, with the number of its token.
type Attempt = (usize, Result<ProvedKey, Unproved>);

/// Why a key is not proved.
struct Unproved {
    error: ReportedError,
    /// Whether something in the configuration is wrong, which neither passes nor is the token's.
    is_wrong: bool,
}

impl KeyTokens {
    /// Opens all, with the channels to their signers. Blocks until a key is proved, and a moment for the others; later they are
    /// taken in by themselves.
    ///
    /// # Errors
    /// The first token's, where no key can be proved; or that of a token which fails for another reason than the token or its PIN:
    /// what is wrong in a configuration is not worked round.
    pub fn open(
        config: &Config,
        sockets: Vec<OwnedFd>,
        protocols: &[&[u8]],
        validity: Validity,
    ) -> Result<Self, SignerError> {
        let of_each: Arc<[Config]> = config.of_each_key_token().into();
        let failover = Failover::new(&of_each);
        let (proved, attempts) = channel();
        let tokens = of_each.len();
        let mut rest = sockets.into_iter();
        for (number, count) in channels_of_each(config).into_iter().enumerate() {
            let opening = Opening {
                number,
                of_each: Arc::clone(&of_each),
                channels: SignerChannels::of(rest.by_ref().take(count).collect()),
                protocols: protocols.iter().map(|it| it.to_vec()).collect(),
                validity,
                failover: Arc::downgrade(&failover),
                proved: proved.clone(),
            };
            let thread = thread::Builder::new().name("hsm-key-token".to_owned());
            let started = thread.spawn(move || opening.run());
            started.map_err(|error| SignerError::handover(&error))?;
        }
        drop(proved);
        // With [sig4], the first token is needed: it has that key too.
        let needs_first = config.sig4.is_some();
        let first = first_proved(&attempts, tokens, needs_first)?;
        let mut connector = first.connector.clone();
        connector.failover = Some(Arc::clone(&failover));
        Ok(Self {
            connector,
            first,
            failover,
        })
    }

    /// What is known of each token, in the order of the configuration. It is recorded in the metrics: of the tokens that are in use,
    /// not of those that a reload opens.
    pub fn states(&self) -> Vec<TokenState> {
        let states = self.failover.states();
        for state in &states {
            metrics::token_asked(&state.name, state.problem.is_none());
        }
        states
    }
}

/// Waits for the first key that is proved, and a moment for the others; of those, the one with the lowest number.
fn first_proved(
    attempts: &Receiver<Attempt>,
    tokens: usize,
    needs_first: bool,
) -> Result<ProvedKey, SignerError> {
    let mut outcomes: Vec<Option<Result<ProvedKey, Unproved>>> =
        (0..tokens).map(|_| None).collect();
    let mut until: Option<Instant> = None;
    while outcomes.iter().any(Option::is_none) {
        let attempt = match until {
            None => attempts.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => attempts.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        let Ok((number, outcome)) = attempt else {
            break;
        };
        match outcome {
            Err(unproved) if unproved.is_wrong || (needs_first && number == 0) => {
                return Err(of_reported(unproved.error));
            }
            Ok(_) if !needs_first || number == 0 => {
                until.get_or_insert_with(|| Instant::now() + GRACE);
            }
            _ => {}
        }
        // Of a token that is tried again, the first error says most.
        outcomes[number].get_or_insert(outcome);
    }
    let mut error = None;
    for outcome in outcomes.into_iter().flatten() {
        match outcome {
            Ok(key) => return Ok(key),
            Err(why) => drop(error.get_or_insert(why.error)),
        }
    }
    Err(of_reported(
        error.unwrap_or_else(|| EngineError::Stopped.into()),
    ))
}

fn of_reported(error: ReportedError) -> SignerError {
    EngineError::Reported(Box::new(error)).into()
}

/// A token that is being opened.
struct Opening {
    number: usize,
    /// The configurations of all, each as if it were the only one.
    of_each: Arc<[Config]>,
    channels: SignerChannels,
    protocols: Vec<Vec<u8>>,
    validity: Validity,
    failover: Weak<Failover>,
    /// Nobody receives any more when the start is over.
    proved: Sender<Attempt>,
}

impl From<SignerError> for Unproved {
    fn from(error: SignerError) -> Self {
        Self {
            is_wrong: !error.is_of_one_token(),
            error: ReportedError::of(error),
        }
    }
}

impl From<TlsError> for Unproved {
    fn from(error: TlsError) -> Self {
        Self {
            is_wrong: true,
            error: ReportedError {
                message: error.to_string(),
                hint: error.hint(),
                class: "configuration".to_owned(),
                exit: error.exit_code() as u8,
                transient: error.is_transient(),
                device_state: None,
            },
        }
    }
}

impl Opening {
    /// Tries until the key is proved, or the tokens are not used any more.
    fn run(self) {
        let mut failures = 0_u32;
        let mut told = String::new();
        loop {
            let proved = self.prove();
            let Some(failover) = self.failover.upgrade() else {
                return;
            };
            let member = &failover.members()[self.number];
            let unproved = match proved {
                Ok(proved) => {
                    let leaf = proved.identity.chain().leaf().clone();
                    member.is_proved(proved.connector.clone(), Arc::clone(&proved.key), leaf);
                    if failures > 0 {
                        tracing::warn!(target: log_target::LIFECYCLE, token = member.name(), "a token that was away is taken in");
                    }
                    drop(self.proved.send((self.number, Ok(proved))));
                    return;
                }
                Err(unproved) => unproved,
            };
            failures = failures.saturating_add(1);
            let ReportedError { message, hint, .. } = &unproved.error;
            if told != *message {
                told.clone_from(message);
                tracing::error!(target: log_target::LIFECYCLE, token = member.name(), error = message, hint, "a token has no key for the connections yet: the others are used");
            }
            member.is_unproved(unproved.error.clone());
            drop(failover);
            let is_wrong = unproved.is_wrong;
            drop(self.proved.send((self.number, Err(unproved))));
            // What is wrong at the start ends it. Later a file may be about to be replaced.
            thread::park_timeout(match is_wrong {
                true => AFTER_A_MISTAKE,
                false => ATTEMPTS.delay(failures),
            });
        }
    }

    fn prove(&self) -> Result<ProvedKey, Unproved> {
        let config = &self.of_each[self.number];
        // The files first: their errors say more than the signer's.
        IdentityFiles::read_valid(config, self.validity).map_err(SignerError::from)?;
        let key = Arc::new(self.channels.connect(config, None)?);
        let identity = key.identity_valid(config, self.validity)?;
        self.check_same_client(identity.chain().leaf())?;
        let protocols: Vec<_> = self.protocols.iter().map(Vec::as_slice).collect();
        let tls = Tls::new(config, &identity)?;
        let connector = Connector::with_protocols(config, &tls, &protocols)?;
        Ok(ProvedKey {
            key,
            identity: Arc::new(identity),
            connector,
        })
    }

    /// Checks the certificate against those of the other tokens: in their files, or else as they were proved.
    fn check_same_client(&self, leaf: &Certificate) -> Result<(), Unproved> {
        let failover = self.failover.upgrade();
        let others = self.of_each.iter().enumerate();
        for (number, other) in others.filter(|(number, _)| *number != self.number) {
            let proved = || failover.as_ref()?.members().get(number)?.leaf();
            let Some(other_leaf) = leaf_in_file(other).or_else(proved) else {
                continue;
            };
            let own = (&self.of_each[self.number], leaf);
            if let Some(conflict) = conflict(own, (other, &other_leaf)) {
                return Err(Unproved {
                    is_wrong: true,
                    error: ReportedError {
                        message: conflict.message,
                        hint: conflict.hint,
                        class: "configuration".to_owned(),
                        exit: ExitCode::Configuration as u8,
                        transient: false,
                        device_state: None,
                    },
                });
            }
        }
        Ok(())
    }
}
