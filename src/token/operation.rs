//! Which step with the token a thread, and this process, has begun last. PKCS#11 calls have no timeout of their own and may
//! end the process, so whoever waits for one has to know what it was waiting for.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::config::pin::PinSource;

/// A step with the token. The error of a step that did not end names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TokenOperation {
    /// dlopen and C_Initialize
    Module,
    /// C_GetSlotList, C_GetTokenInfo, C_GetMechanismList
    Token,
    /// C_OpenSession
    Session,
    /// What comes before C_Login: the PIN source, the PIN flags of CK_TOKEN_INFO, the guard.
    Login,
    /// C_Login. Whether it counts as a wrong PIN is known only when it has ended.
    PinSent,
    /// C_Login that waits for a person at the token's keypad.
    PinAtKeypad,
    /// C_FindObjects
    Key,
    /// C_GetAttributeValue and other calls in a session.
    Object,
    /// C_GenerateKeyPair, all tries of it.
    KeyGeneration,
    /// C_SignInit and C_Sign
    Signature,
    /// The audit's calls.
    Audit,
}

impl TokenOperation {
    const ALL: [Self; 11] = [
        Self::Module,
        Self::Token,
        Self::Session,
        Self::Login,
        Self::PinSent,
        Self::PinAtKeypad,
        Self::Key,
        Self::Object,
        Self::KeyGeneration,
        Self::Signature,
        Self::Audit,
    ];

    /// Whether the PIN was sent, and whether the token refused it is not known.
    pub fn is_pin_at_stake(self) -> bool {
        matches!(self, Self::PinSent | Self::PinAtKeypad)
    }

    /// The step with this number.
    pub(crate) fn of(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| *operation as u8 == number)
    }
}

impl Display for TokenOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "loading the module (C_Initialize)",
            Self::Token => "the search for the token (C_GetSlotList, C_GetTokenInfo)",
            Self::Session => "the opening of a session (C_OpenSession)",
            Self::Login => "the login",
            Self::PinSent => "the login (C_Login)",
            Self::PinAtKeypad => "the login at the keypad (C_Login)",
            Self::Key => "the search for the key (C_FindObjects)",
            Self::Object => "the reading of an object (C_GetAttributeValue)",
            Self::KeyGeneration => "the generation of the key pair (C_GenerateKeyPair)",
            Self::Signature => "a signature (C_SignInit, C_Sign)",
            Self::Audit => "what the audit asks of the token",
        })
    }
}

/// Is told of the step that this process is in from now on; `None`: in none.
pub type Observer = fn(Option<TokenOperation>);

static OBSERVER: OnceLock<Observer> = OnceLock::new();
/// What the observer was told last.
static OBSERVED: AtomicU8 = AtomicU8::new(NONE);
const NONE: u8 = u8::MAX;

thread_local! {
    static OF_THREAD: RefCell<Arc<AtomicU8>> = RefCell::new(Arc::new(AtomicU8::new(NONE)));
}

/// From now on `observer` is told of each step of this process. The first observer stays.
pub fn observe(observer: Observer) {
    // Another is there already: a process has one.
    let _ = OBSERVER.set(observer);
}

/// A step in progress, until this is dropped. Then the thread is in the step before it again.
#[must_use]
#[derive(Debug)]
pub(crate) struct InProgress {
    outer: u8,
}

/// A step begins.
pub(crate) fn begin(operation: TokenOperation) -> InProgress {
    InProgress {
        outer: enter(operation as u8),
    }
}

/// C_Login begins.
pub(super) fn begin_login(source: &PinSource) -> InProgress {
    begin(match source {
        PinSource::ProtectedPath => TokenOperation::PinAtKeypad,
        _ => TokenOperation::PinSent,
    })
}

/// A call in a session begins: a step of its own only where the thread is in none.
pub(super) fn begin_call() -> Option<InProgress> {
    let current = OF_THREAD.with_borrow(|step| step.load(Ordering::Relaxed));
    (current == NONE).then(|| begin(TokenOperation::Object))
}

impl Drop for InProgress {
    fn drop(&mut self) {
        // Between two signatures nobody is told: there are thousands a second, each with a deadline of its own.
        let ended = OF_THREAD.with_borrow(|step| step.swap(self.outer, Ordering::Relaxed));
        if ended != TokenOperation::Signature as u8 {
            tell(self.outer);
        }
    }
}

/// Returns the step that the thread was in.
fn enter(operation: u8) -> u8 {
    let outer = OF_THREAD.with_borrow(|step| step.swap(operation, Ordering::Relaxed));
    tell(operation);
    outer
}

fn tell(operation: u8) {
    if let Some(observer) = OBSERVER.get()
        && OBSERVED.swap(operation, Ordering::Relaxed) != operation
    {
        observer(TokenOperation::of(operation));
    }
}

/// The steps of a thread that another one waits for. They are the steps of the waiting thread too, so that whoever waits for
/// that one sees them.
#[derive(Clone, Debug)]
pub(super) struct AwaitedSteps {
    first: TokenOperation,
    /// The step of the waiting thread before.
    outer: u8,
    current: Arc<AtomicU8>,
}

impl AwaitedSteps {
    /// Of a thread that the calling one is about to wait for, which begins with `first`.
    pub(super) fn new(first: TokenOperation) -> Self {
        let current = OF_THREAD.with_borrow(Arc::clone);
        Self {
            first,
            outer: current.load(Ordering::Relaxed),
            current,
        }
    }

    /// From now on these are the steps of the thread that calls it.
    pub(super) fn begin(&self) -> InProgress {
        OF_THREAD.set(Arc::clone(&self.current));
        begin(self.first)
    }

    /// The waiting thread waits no more: whatever it does from now on is not the step that has not ended. Returns that step.
    pub(super) fn give_up(&self) -> TokenOperation {
        let last = TokenOperation::of(self.current.load(Ordering::Relaxed));
        OF_THREAD.set(Arc::new(AtomicU8::new(self.outer)));
        tell(self.outer);
        last.unwrap_or(self.first)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A thread waits for one that waits for one that hangs in C_Login: both see it.
    #[test]
    fn a_step_that_hangs_is_seen_by_all_who_wait() {
        let key = AwaitedSteps::new(TokenOperation::Key);
        let (of_thread, outermost) = (key.clone(), Arc::clone(&key.current));
        let (begun, hangs) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let waiting = thread::spawn(move || {
            let _key = of_thread.begin();
            let login = AwaitedSteps::new(TokenOperation::Login);
            let of_thread = login.clone();
            let hanging = thread::spawn(move || {
                let _login = of_thread.begin();
                drop(begin(TokenOperation::Session));
                let _pin = begin(TokenOperation::PinSent);
                begun.send(()).expect("a test that listens");
                ended.recv().expect("a test that looks");
            });
            hangs.recv().expect("a thread that hangs");
            let seen = TokenOperation::of(outermost.load(Ordering::Relaxed));
            assert_eq!(seen, Some(TokenOperation::PinSent));
            assert_eq!(login.give_up(), TokenOperation::PinSent);
            // This thread goes on with what it was in before.
            let now = OF_THREAD.with_borrow(|step| step.load(Ordering::Relaxed));
            assert_eq!(TokenOperation::of(now), Some(TokenOperation::Key));
            end.send(()).expect("a thread that waits");
            hanging.join().expect("no panic");
        });
        waiting.join().expect("no panic");
    }

    #[test]
    fn each_step_has_its_number() {
        for operation in TokenOperation::ALL {
            assert_eq!(TokenOperation::of(operation as u8), Some(operation));
        }
        assert_eq!(TokenOperation::of(NONE), None);
    }
}
