//! The token and its key as they can be reached now, and how they are found again.
//!
//! A network HSM goes away and comes back: its daemon is restarted, its firewall forgets a
//! connection, its slots renumber. The next signature that is asked for finds it again, from the
//! gentlest means to the strongest: select and log in anew; then C_Finalize and C_Initialize, which
//! is what it takes after the process behind a module has died (opening sessions again is not
//! enough there). While that fails, callers are told so at once, and it is tried with growing
//! pauses.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::EngineError;
use super::condition::Down;
use super::error::{Remedy, remedy};
use crate::backoff::Backoff;
use crate::key::Key;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;
use crate::rfc3339;
use crate::token::guard::PinError;
use crate::token::session::{Access, Session};
use crate::token::{Token, TokenError};

/// Between attempts to find the token again. A token that is back is found within the longest delay.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// Losses in a row, without a signature in between, after which gentle means are not tried.
const GENTLE: u32 = 1;

#[derive(Debug)]
pub(super) struct Station {
    key: Key,
    meter: KeyMetrics,
    // Held while the token is being found: whoever needs it waits for that.
    state: Mutex<State>,
    // Beside it, for those who must not wait.
    seen: Mutex<Seen>,
}

/// What can be told without waiting for anybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) down: Option<Down>,
    /// When the last good signature was made.
    pub(super) signed: Option<Instant>,
}

#[derive(Debug)]
struct State {
    token: Arc<Token>,
    number: u64,
    /// The C_Initialize that it was found under.
    generation: u64,
    /// Losses since the last signature.
    losses: u32,
    lost: Option<Lost>,
}

/// The token is not where it was.
#[derive(Clone, Debug)]
struct Lost {
    down: Down,
    next: Instant,
    /// Failures in a row, which the backoff counts by.
    failures: u32,
}

/// Where the token is. What was opened at one place is of no use at another.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) token: Arc<Token>,
    pub(super) number: u64,
}

impl Station {
    pub(super) fn new(token: Arc<Token>, key: Key, meter: KeyMetrics) -> Self {
        meter.token_up(true);
        Self {
            key,
            meter,
            state: Mutex::new(State {
                generation: token.module().generation(),
                token,
                number: 0,
                losses: 0,
                lost: None,
            }),
            seen: Mutex::default(),
        }
    }

    /// How it was when somebody last looked: waits for nobody, and asks nobody.
    pub(super) fn seen(&self) -> Seen {
        self.look().clone()
    }

    /// Where the token is now; finds it again where it was lost.
    ///
    /// # Errors
    /// It cannot be found; told at once until it is time for another attempt.
    pub(super) fn place(&self) -> Result<Place, EngineError> {
        let mut state = self.lock();
        if let Some(lost) = state.lost.clone() {
            if Instant::now() < lost.next {
                return Err(lost.down.error());
            }
            let found = self.find_again(&state);
            let class = found.as_ref().map_or_else(EngineError::class, |_| "good");
            self.meter.searched(class);
            match found {
                Ok(token) => {
                    self.meter.token_up(true);
                    tracing::warn!(key = %self.key.uri(), since = lost.down.since, "the token was found again");
                    state.generation = token.module().generation();
                    state.token = Arc::new(token);
                    state.number += 1;
                    state.lost = None;
                    self.look().down = None;
                }
                Err(error) => {
                    let error = Arc::new(error);
                    tracing::warn!(key = %self.key.uri(), since = lost.down.since, %error, "the token is not back");
                    let lost = Lost {
                        down: Down {
                            last: Some(error),
                            ..lost.down
                        },
                        next: Instant::now() + BACKOFF.delay(lost.failures),
                        failures: lost.failures.saturating_add(1),
                    };
                    let told = lost.down.error();
                    self.look().down = Some(lost.down.clone());
                    state.lost = Some(lost);
                    return Err(told);
                }
            }
        }
        Ok(Place {
            token: Arc::clone(&state.token),
            number: state.number,
        })
    }

    /// What was reached at this place answers no more.
    pub(super) fn lose(&self, number: u64, why: &EngineError) {
        let mut state = self.lock();
        if state.number != number || state.lost.is_some() {
            return;
        }
        tracing::warn!(key = %self.key.uri(), %why, "the token is lost");
        self.meter.token_up(false);
        // The first time it is looked for at once. A token that is found each time, and fails each
        // time, gets its pauses too.
        let failures = state.losses.saturating_add(1);
        let wait = if state.losses > GENTLE {
            BACKOFF.delay(failures)
        } else {
            Duration::ZERO
        };
        state.losses = state.losses.saturating_add(1);
        let down = Down {
            since: rfc3339::now(),
            last: None,
        };
        self.look().down = Some(down.clone());
        state.lost = Some(Lost {
            down,
            next: Instant::now() + wait,
            failures,
        });
    }

    /// A signature was made. Its caller does not wait for those who look for the token meanwhile.
    pub(super) fn works(&self, number: u64) {
        self.look().signed = Some(Instant::now());
        if let Ok(mut state) = self.state.try_lock()
            && state.number == number
        {
            state.losses = 0;
        }
    }

    /// Opens a session and finds the key in it.
    pub(super) fn open(&self, place: &Place) -> Result<(Session, ObjectHandle), EngineError> {
        let opened = self.session_with_key(&place.token);
        let class = opened.as_ref().map_or_else(EngineError::class, |_| "good");
        self.meter.session_opened(class);
        opened
    }

    fn session_with_key(&self, token: &Token) -> Result<(Session, ObjectHandle), EngineError> {
        let session = token.session(Access::ReadOnly)?;
        let handle = self.key.find_again(&session, token)?;
        Ok((session, handle))
    }

    pub(super) fn meter(&self) -> &KeyMetrics {
        &self.meter
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    fn find_again(&self, state: &State) -> Result<Token, EngineError> {
        let module = state.token.module();
        let generation = module.generation();
        // Somebody else of this process has initialised the module meanwhile: that may do.
        let renewed = generation != state.generation;
        let gentle = match state.losses {
            losses if losses <= GENTLE || renewed => self.arrive(&state.token),
            // It was found gently, and failed again at once.
            _ => Err(TokenError::Empty.into()),
        };
        let Err(error) = gentle else {
            return gentle;
        };
        match error.pin() {
            // C_Login itself failed: the PIN is not sent a second time in one search.
            Some(PinError::Call(_)) => {
                module.reinitialize(generation, state.token.recorder())?;
                Err(error)
            }
            Some(_) => Err(error),
            // The module is well, and others use it.
            None if remedy(&error) == Remedy::FewerSessions => Err(error),
            None => {
                module.reinitialize(generation, state.token.recorder())?;
                self.arrive(&state.token)
            }
        }
    }

    /// Selects the token, logs in and finds the key: all that a signature takes, short of it.
    fn arrive(&self, before: &Token) -> Result<Token, EngineError> {
        let token = before.reopen()?;
        self.session_with_key(&token)?;
        Ok(token)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps: it is whole also after a panic elsewhere.
        self.state.lock().ignore_poison()
    }

    fn look(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().ignore_poison()
    }
}
