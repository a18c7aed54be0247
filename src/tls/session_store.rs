//! Sessions that may be resumed (`resumption` of `[tls]`; RFC 8446, section 2.2, and RFC 5246, section 7.3). A resumed handshake
//! has neither a CertificateRequest nor a signature: the server knows us by the session. So a session counts only after its first
//! handshake was seen to carry our certificate, and for no longer than what that handshake showed holds.
//!
//! rustls does not tell a store to which connection a call belongs, and a server that asks for no certificate may send a
//! ticket too. So each connection has a store of its own, which passes sessions on once its handshake is proved.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::certificate::Certificate;
use crate::config::origin::Origin;
use crate::log_target;
use crate::poison::IgnorePoison as _;

/// So many tickets of TLS 1.3 are kept for an origin: each serves one connection.
const MAX_TICKETS: usize = 64;
/// So many tickets of one connection are kept until its handshake is proved.
const MAX_PENDING: usize = 8;

/// After so many tickets in a row that the server has not taken, it is offered none for a while: each costs a connection.
const MAX_NOT_TAKEN: u32 = 3;

/// After a server refused a session, connections to it make full handshakes for this long: one that refuses sessions, and gives
/// new ones all the same, would refuse each second connection.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(600);

/// The sessions of one identity with one set of trust anchors: a reload begins with none.
#[derive(Debug)]
pub(super) struct SessionStore {
    lifetime: Duration,
    /// Our certificate, or a CRL, is outdated from then on.
    until: SystemTime,
    sessions: Mutex<HashMap<Origin, Sessions>>,
}

/// The sessions with one origin.
#[derive(Debug, Default)]
struct Sessions {
    tickets: VecDeque<Kept<Tls13ClientSessionValue>>,
    tls12: Option<Kept<Tls12ClientSessionValue>>,
    group: Option<NamedGroup>,
    /// Tickets in a row that the server has not taken.
    not_taken: u32,
    /// A session was refused: none is offered or kept until then.
    paused_until: Option<Instant>,
}

/// A session, and the time from which on it is not resumed. All sessions that follow from one handshake have that of the first:
/// a chain of tickets is no longer than one.
#[derive(Clone, Debug)]
struct Kept<T> {
    session: T,
    until: SystemTime,
}

impl SessionStore {
    /// A session is resumed for this long after its handshake, and not from `until` on.
    pub(super) fn new(lifetime: Duration, until: SystemTime) -> Self {
        Self {
            lifetime,
            until,
            sessions: Mutex::default(),
        }
    }

    /// Whether a session was refused lately by this origin.
    pub(super) fn is_paused(&self, origin: &Origin) -> bool {
        self.with(origin, |sessions| sessions.is_paused())
    }

    fn with<T>(&self, origin: &Origin, change: impl FnOnce(&mut Sessions) -> T) -> T {
        let mut all = self.sessions.lock().ignore_poison();
        change(all.entry(origin.clone()).or_default())
    }
}

impl Sessions {
    fn is_paused(&self) -> bool {
        self.paused_until
            .is_some_and(|until| Instant::now() < until)
    }
}

/// A session that a connection has resumed.
#[derive(Clone, Debug)]
pub struct ResumedSession(pub(crate) Arc<ConnectionSessions>);

impl ResumedSession {
    /// The connection ended before it had an answer. In TLS 1.3 a server refuses after the handshake, so the session may be why.
    pub fn refused(&self) {
        self.0.refused();
    }
}

/// The store of one connection.
pub(crate) struct ConnectionSessions {
    shared: Arc<SessionStore>,
    origin: Origin,
    /// Whether a session of an earlier connection is offered.
    offers: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The time limit of the session that was offered to the server.
    offered: Option<SystemTime>,
    /// That of the sessions which the server gives. `None`: the handshake is not proved.
    admitted: Option<SystemTime>,
    tickets: Vec<Tls13ClientSessionValue>,
    tls12: Option<Tls12ClientSessionValue>,
    /// What the handshake's first run was told; its second is told the same. A ticket cannot be given twice.
    first_run: FirstRun,
}

#[derive(Debug, Default)]
struct FirstRun {
    asked_for_ticket: bool,
    has_ticket: bool,
    /// The ticket was sent, as far as is known.
    offers_ticket: bool,
    tls12: Option<Option<Tls12ClientSessionValue>>,
    group: Option<Option<NamedGroup>>,
}

impl ConnectionSessions {
    /// `None`: the server has refused a session lately.
    pub(super) fn new(shared: &Arc<SessionStore>, origin: &Origin, offers: bool) -> Option<Self> {
        (!shared.is_paused(origin)).then(|| Self {
            shared: Arc::clone(shared),
            origin: origin.clone(),
            offers,
            state: Mutex::default(),
        })
    }

    /// The handshake was a full one, and carried our certificate: its sessions may be resumed, for as long as the server's
    /// certificates are valid too.
    pub(crate) fn admit_full(&self, server_chain: &[Vec<u8>]) {
        let ends = server_chain.iter().map(|der| {
            let certificate = Certificate::from_der(der, "the server").ok()?;
            Some(certificate.not_after_time())
        });
        let own = self
            .shared
            .until
            .min(SystemTime::now() + self.shared.lifetime);
        // Of a certificate that this crate cannot read nothing is known.
        let ends: Option<Vec<_>> = ends.collect();
        let until = ends.and_then(|ends| ends.into_iter().min());
        self.admit(|_| Some(own.min(until?)));
    }

    /// The handshake resumed a session whose first one carried our certificate: its sessions may be resumed for as long.
    pub(crate) fn admit_resumed(&self) {
        self.shared
            .with(&self.origin, |sessions| sessions.not_taken = 0);
        self.admit(|state| state.offered);
    }

    /// Whether a session was offered to the server.
    pub(crate) fn is_offered(&self) -> bool {
        self.state.lock().ignore_poison().offered.is_some()
    }

    /// The first run has sent no ticket: the one that rustls was given had outlived what the server said of it.
    pub(crate) fn no_ticket_sent(&self) {
        let mut state = self.state.lock().ignore_poison();
        if std::mem::take(&mut state.first_run.offers_ticket) {
            state.offered = None;
        }
    }

    /// The server makes a full handshake: returns whether it was offered a ticket. One that has let several in a row go by, as one
    /// of many servers behind a load balancer does, is offered none for a while.
    pub(crate) fn ticket_not_taken(&self) -> bool {
        if !self.state.lock().ignore_poison().first_run.offers_ticket {
            return false;
        }
        let not_taken = self.shared.with(&self.origin, |sessions| {
            sessions.not_taken += 1;
            sessions.not_taken
        });
        if not_taken >= MAX_NOT_TAKEN {
            self.pause("the server takes no ticket of its own: for ten minutes each connection makes a full handshake");
        }
        true
    }

    /// The connection failed, and the session that was offered may be why: none is offered for a while.
    pub(crate) fn refused(&self) {
        self.pause("a connection with a resumed session was refused: for ten minutes each one makes a full handshake");
    }

    fn pause(&self, why: &'static str) {
        let pause = Some(Instant::now() + PAUSE_AFTER_REFUSAL);
        let sessions = Sessions {
            paused_until: pause,
            ..Sessions::default()
        };
        self.shared.with(&self.origin, |known| *known = sessions);
        tracing::warn!(
            target: log_target::CLIENT,
            host = self.origin.host,
            port = self.origin.port,
            "{why}"
        );
    }

    fn admit(&self, until: impl FnOnce(&State) -> Option<SystemTime>) {
        let mut state = self.state.lock().ignore_poison();
        let Some(until) = until(&state) else {
            return;
        };
        state.admitted = Some(until);
        // There is no further run: the session that was offered is not kept for as long as the connection is.
        state.first_run = FirstRun::default();
        for ticket in std::mem::take(&mut state.tickets) {
            self.keep_ticket(ticket, until);
        }
        if let Some(session) = state.tls12.take() {
            self.keep_tls12(session, until);
        }
    }

    fn keep_ticket(&self, session: Tls13ClientSessionValue, until: SystemTime) {
        self.shared.with(&self.origin, |sessions| {
            if sessions.is_paused() {
                return;
            }
            // The latest are the last that the server forgets.
            if sessions.tickets.len() == MAX_TICKETS {
                sessions.tickets.pop_front();
            }
            sessions.tickets.push_back(Kept { session, until });
        });
    }

    fn keep_tls12(&self, session: Tls12ClientSessionValue, until: SystemTime) {
        self.shared.with(&self.origin, |sessions| {
            if !sessions.is_paused() {
                sessions.tls12 = Some(Kept { session, until });
            }
        });
    }
}

impl State {
    /// A session that is to be offered, unless its time is over.
    fn offer<T>(&mut self, kept: Kept<T>) -> Option<T> {
        let is_in_time = kept.until > SystemTime::now();
        is_in_time.then(|| {
            self.offered = Some(kept.until);
            kept.session
        })
    }
}

impl fmt::Debug for ConnectionSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSessions")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ClientSessionStore for ConnectionSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.shared
            .with(&self.origin, |sessions| sessions.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        let mut state = self.state.lock().ignore_poison();
        let known = || self.shared.with(&self.origin, |sessions| sessions.group);
        *state.first_run.group.get_or_insert_with(known)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut state = self.state.lock().ignore_poison();
        match state.admitted {
            Some(until) => self.keep_tls12(value, until),
            None => state.tls12 = Some(value),
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let mut state = self.state.lock().ignore_poison();
        if let Some(known) = &state.first_run.tls12 {
            return known.clone();
        }
        // The first run had a ticket, and did not ask.
        if state.first_run.has_ticket {
            return None;
        }
        let kept = self
            .shared
            .with(&self.origin, |sessions| sessions.tls12.clone());
        let offered = kept
            .filter(|_| self.offers)
            .and_then(|kept| state.offer(kept));
        state.first_run.tls12.insert(offered).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.shared
            .with(&self.origin, |sessions| sessions.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut state = self.state.lock().ignore_poison();
        match state.admitted {
            Some(until) => self.keep_ticket(value, until),
            None if state.tickets.len() < MAX_PENDING => state.tickets.push(value),
            None => {}
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut state = self.state.lock().ignore_poison();
        if std::mem::replace(&mut state.first_run.asked_for_ticket, true) || !self.offers {
            return None;
        }
        // The latest: a server may take each ticket once.
        let kept = self
            .shared
            .with(&self.origin, |sessions| sessions.tickets.pop_back());
        let ticket = state.offer(kept?)?;
        (state.first_run.has_ticket, state.first_run.offers_ticket) = (true, true);
        Some(ticket)
    }
}
