//! A stock of tokens that are minted ahead, so that no request waits for the HSM.
//!
//! How many are kept follows from how many were taken lately. A token is handed out in the first half of its life only: after
//! that another is minted in its place. While the HSM is away, whoever asks gets its error, and the stock is filled again when it
//! is back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{Instant as TokioInstant, timeout_at};

use super::demand::Demand;
use super::stocked_token::StockedToken;
use super::{Minter, Token};
use crate::backoff::Backoff;
use crate::engine::EngineError;
use crate::poison::IgnorePoison as _;

/// How long a thread without work waits before it looks again.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// The most threads that mint.
const MAX_THREADS: usize = 64;

/// How long the end of a stock waits for its threads. A process that exits while a signature is made may crash in the module.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The delays after a failure, while nobody waits.
const FILL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Tokens that are minted ahead, by threads of the stock. They end with it.
pub struct TokenStock {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<StockState>,
    /// There is work for a thread, or the stock ends.
    changed: Condvar,
}

struct StockState {
    /// `None`: the stock has ended. The last thread must not be what keeps the key open.
    minter: Option<Minter>,
    /// Increased with each change of the minter.
    generation: u64,
    tokens: VecDeque<StockedToken>,
    waiting: VecDeque<Waiting>,
    /// The number of tokens that are being minted.
    in_progress: usize,
    demand: Demand,
    failures: u32,
    /// Set by the second failure in a row, and by the first token after it.
    last_error: Option<Arc<EngineError>>,
    /// No token is minted for the stock before this time.
    resumes_at: Instant,
    /// The threads that run.
    threads: usize,
    counts: StockCounts,
}

struct Waiting {
    since: Instant,
    result: oneshot::Sender<Result<Token, Arc<EngineError>>>,
}

/// How the tokens of a stock were handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StockCounts {
    /// Without a wait.
    pub at_once: u64,
    /// After a wait for the HSM, or not at all.
    pub waited: u64,
    /// Thrown away, because they were too old.
    pub discarded: u64,
}

impl fmt::Debug for TokenStock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenStock of {}", self.shared.lock().tokens.len())
    }
}

impl TokenStock {
    /// Starts a stock that mints at most `parallel` tokens at the same time: as many as the HSM has sessions.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(minter: Minter, parallel: usize) -> io::Result<Self> {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            state: Mutex::new(StockState {
                minter: Some(minter),
                generation: 0,
                tokens: VecDeque::new(),
                waiting: VecDeque::new(),
                in_progress: 0,
                demand: Demand::new(now),
                failures: 0,
                last_error: None,
                resumes_at: now,
                threads: 0,
                counts: StockCounts::default(),
            }),
            changed: Condvar::new(),
        });
        let stock = Self {
            shared: Arc::clone(&shared),
        };
        for _ in 0..parallel.clamp(1, MAX_THREADS) {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name("hsm-jwt".to_owned());
            // Counted before it runs: where it cannot be started, the others end with `stock`.
            shared.lock().threads += 1;
            let spawned = thread.spawn({
                let shared = Arc::clone(&shared);
                move || {
                    shared.mint_until_ended();
                    shared.thread_ended();
                }
            });
            if let Err(error) = spawned {
                shared.thread_ended();
                return Err(error);
            }
        }
        Ok(stock)
    }

    /// A token, with at least half of its life before it. Waits until the deadline, if none is in stock.
    ///
    /// # Errors
    /// There is none by the deadline, or the HSM did not sign one.
    pub async fn token(&self, deadline: Instant) -> Result<Token, Arc<EngineError>> {
        let received = {
            let mut state = self.shared.lock();
            let now = Instant::now();
            state.demand.count(now);
            Shared::discard_old(&mut state, now);
            // The oldest first: each is used as long as it lives.
            if let Some(stocked) = state.tokens.pop_front() {
                state.counts.at_once += 1;
                self.shared.wake_for_work(state, now);
                return Ok(stocked.token);
            }
            state.counts.waited += 1;
            // Whoever waits for an HSM that is away holds what others need. It is tried further, for the stock.
            if let Some(error) = &state.last_error {
                return Err(Arc::clone(error));
            }
            let (result, received) = oneshot::channel();
            state.waiting.push_back(Waiting { since: now, result });
            self.shared.wake_for_work(state, now);
            received
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        match timeout_at(TokioInstant::from_std(deadline), received).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Arc::new(EngineError::Stopped)),
            Err(_) => Err(Arc::new(EngineError::Deadline(timeout))),
        }
    }

    /// Mints with this minter from now on: the tokens of the one before are thrown away.
    pub fn switch(&self, minter: Minter) {
        let mut state = self.shared.lock();
        state.minter = Some(minter);
        state.generation += 1;
        state.counts.discarded += state.tokens.len() as u64;
        state.tokens.clear();
        state.failures = 0;
        state.last_error = None;
        state.resumes_at = Instant::now();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Why there are no tokens: the error of the second failure in a row, until one is minted.
    pub fn last_error(&self) -> Option<Arc<EngineError>> {
        self.shared.lock().last_error.clone()
    }

    /// How tokens were handed out so far.
    pub fn counts(&self) -> StockCounts {
        self.shared.lock().counts
    }
}

impl Drop for TokenStock {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.minter = None;
        state.tokens.clear();
        state.waiting.clear();
        self.shared.changed.notify_all();
        // A token that is being signed keeps the key, and with it the module, in use.
        let run = |state: &mut StockState| state.threads > 0;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, STOP_TIMEOUT, run);
        drop(waited.ignore_poison());
    }
}

impl StockState {
    /// Whether there are fewer tokens than are wanted, those that are being minted included.
    fn is_short(&mut self, now: Instant) -> bool {
        let wanted = self.demand.stock(now) + self.waiting.len();
        self.tokens.len() + self.in_progress < wanted
    }

    /// Whether a token is to be minted now.
    fn has_work(&mut self, now: Instant) -> bool {
        self.waiting.len() > self.in_progress || (now >= self.resumes_at && self.is_short(now))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, StockState> {
        self.state.lock().ignore_poison()
    }

    fn thread_ended(&self) {
        self.lock().threads -= 1;
        self.changed.notify_all();
    }

    /// The work of one thread.
    fn mint_until_ended(&self) {
        while let Some((minter, generation)) = self.next_work() {
            let began = Instant::now();
            let minted = minter.mint();
            drop(minter);
            self.hand_out(minted, generation, began);
        }
    }

    /// Waits until a token is to be minted. `None`: the stock has ended.
    fn next_work(&self) -> Option<(Minter, u64)> {
        let mut state = self.lock();
        loop {
            let minter = state.minter.clone()?;
            let now = Instant::now();
            Self::discard_old(&mut state, now);
            state.waiting.retain(|waiting| !waiting.result.is_closed());
            if state.has_work(now) {
                state.in_progress += 1;
                let generation = state.generation;
                self.wake_for_work(state, now);
                return Some((minter, generation));
            }
            let is_short = state.is_short(now);
            let next = match state.tokens.front() {
                _ if is_short => state.resumes_at,
                Some(oldest) => oldest.ends_at(),
                None => now + IDLE_WAIT,
            };
            let pause = next.saturating_duration_since(now);
            // At least a moment, so that no time that has just come is waited for in a circle.
            let pause = pause.max(Duration::from_millis(1));
            drop(minter);
            let (woken, _) = self.changed.wait_timeout(state, pause).ignore_poison();
            state = woken;
        }
    }

    /// Wakes one thread if there is something for it to mint. Whoever takes work wakes the next: nobody is woken in vain.
    fn wake_for_work(&self, mut state: MutexGuard<'_, StockState>, now: Instant) {
        let has_work = state.has_work(now);
        drop(state);
        if has_work {
            self.changed.notify_one();
        }
    }

    /// Hands a token to whoever waits longest, or puts it into the stock. An error goes to all who waited when it was asked for.
    fn hand_out(&self, minted: Result<Token, EngineError>, generation: u64, began: Instant) {
        let mut state = self.lock();
        state.in_progress -= 1;
        let minted = minted.map(|token| StockedToken {
            token,
            minted_at: began,
        });
        match minted {
            // Another key is in use meanwhile: whoever waits gets a token, or an error, of that one.
            Ok(_) if state.generation != generation || state.minter.is_none() => {
                state.counts.discarded += 1
            }
            Err(_) if state.generation != generation => {}
            // Signed too late: whoever waits gets the next one, or the error of his own deadline.
            Ok(stocked) if !stocked.is_young(Instant::now()) => {
                state.counts.discarded += 1;
                state.failures = state.failures.saturating_add(1);
                state.resumes_at = Instant::now() + FILL_BACKOFF.delay(state.failures);
            }
            Ok(mut stocked) => {
                state.failures = 0;
                state.last_error = None;
                state.resumes_at = began;
                loop {
                    let Some(waiting) = state.waiting.pop_front() else {
                        state.tokens.push_back(stocked);
                        break;
                    };
                    match waiting.result.send(Ok(stocked.token)) {
                        // Whoever has gone gives it back.
                        Err(Ok(returned)) => stocked.token = returned,
                        Ok(()) | Err(Err(_)) => break,
                    }
                }
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.resumes_at = Instant::now() + FILL_BACKOFF.delay(state.failures);
                let error = Arc::new(error);
                if state.failures > 1 {
                    state.last_error = Some(Arc::clone(&error));
                }
                while let Some(waiting) = state.waiting.front()
                    && waiting.since <= began
                {
                    if let Some(waiting) = state.waiting.pop_front() {
                        // Whoever has gone does not need it.
                        let _ = waiting.result.send(Err(Arc::clone(&error)));
                    }
                }
            }
        }
    }

    /// Throws away the tokens in the second half of their life, and those that this machine's clock, which may have been set
    /// meanwhile, takes for such.
    fn discard_old(state: &mut StockState, now: Instant) {
        // The oldest is the first. The lock is held: no further one is looked at.
        while let Some(oldest) = state.tokens.front()
            && !oldest.is_young(now)
        {
            state.tokens.pop_front();
            state.counts.discarded += 1;
        }
    }
}
