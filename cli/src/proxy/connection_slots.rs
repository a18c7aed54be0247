//! The slots of a listener: how many connections it has, and who has them. No caller can keep another one out.
//!
//! Each listener has slots of its own. If all are in use, a new connection takes the place of one of the caller with the
//! most: the one that was idle, or sent an incomplete head, for longest. A TCP connection that has not shown the caller
//! token has one of a few further slots, of which the oldest gives way; with the token it becomes one of a known caller.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::proxy_metrics;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// The share of the slots that connections without the token have beside the others, and its smallest size.
const UNKNOWN_SHARE: usize = 4;
const MIN_UNKNOWN: usize = 8;
/// How often the log says that connections were displaced.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// A user, on a Unix socket.
    User(u32),
    /// A process that has shown the token, or need not, on a TCP port.
    Admitted,
    /// A process that has not shown the token yet.
    Unknown,
}

/// The slots of one listener.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    /// Names the listener in the log.
    place: String,
    limit: usize,
    unknown_limit: usize,
    table: Mutex<SlotTable>,
}

#[derive(Debug, Default)]
struct SlotTable {
    /// The number of the next slot, or of its next change of state.
    next: u64,
    callers: HashMap<Caller, CallerSlots>,
    displaced_since_log: u64,
    logged: Option<Instant>,
}

/// The connections of one caller, in the order in which they came to their state.
#[derive(Debug, Default)]
struct CallerSlots {
    /// Those that wait for the caller: idle, or with an incomplete request.
    waiting: BTreeMap<u64, Arc<Notify>>,
    serving: BTreeMap<u64, Arc<Notify>>,
}

impl CallerSlots {
    fn count(&self) -> usize {
        self.waiting.len() + self.serving.len()
    }
}

/// The slot of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    caller: Caller,
    number: u64,
    displaced: Arc<Notify>,
}

impl ConnectionSlots {
    pub(super) fn new(place: String, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            place,
            limit,
            unknown_limit: Self::unknown_limit(limit),
            table: Mutex::default(),
        })
    }

    /// How many connections may be without the token, beside `limit` others.
    pub(super) fn unknown_limit(limit: usize) -> usize {
        (limit / UNKNOWN_SHARE).max(MIN_UNKNOWN)
    }

    /// The number of connections.
    pub(super) fn count(&self) -> usize {
        self.table().callers.values().map(CallerSlots::count).sum()
    }

    /// Whether a known caller gets a slot without displacing another one.
    pub(super) fn has_room(&self) -> bool {
        self.table().count_known() < self.limit
    }

    /// A slot for a new connection, if need be in place of another one. None: all are in use by requests, and nobody
    /// has more of them than this caller.
    pub(super) fn take(self: &Arc<Self>, caller: Caller) -> Option<ConnectionSlot> {
        let displaced = Arc::new(Notify::new());
        let number = self.make_room(caller)?.add(caller, &displaced);
        Some(ConnectionSlot {
            slots: Arc::clone(self),
            caller,
            number,
            displaced,
        })
    }

    /// The table, with room for a connection of this caller.
    fn make_room(&self, caller: Caller) -> Option<MutexGuard<'_, SlotTable>> {
        let mut table = self.table();
        let own = table.count(caller);
        let from = if caller == Caller::Unknown {
            (own >= self.unknown_limit).then_some(caller)
        } else if table.count_known() < self.limit {
            None
        } else {
            let heaviest = table.heaviest_known();
            Some(heaviest.map_or(
                caller,
                |(heaviest, count)| {
                    if count > own { heaviest } else { caller }
                },
            ))
        };
        let Some(from) = from else {
            return Some(table);
        };
        // A request that is being answered gives way to another caller only.
        let displaced = table.displace(from, from != caller || caller == Caller::Unknown);
        displaced.then(|| {
            self.log_displaced(&mut table);
            table
        })
    }

    fn log_displaced(&self, table: &mut SlotTable) {
        proxy_metrics::connection_displaced();
        table.displaced_since_log += 1;
        let now = Instant::now();
        if table
            .logged
            .is_none_or(|logged| now > logged + LOG_INTERVAL)
        {
            table.logged = Some(now);
            let count = std::mem::take(&mut table.displaced_since_log);
            tracing::warn!(place = %self.place, count, "all slots are in use: connections that were idle or incomplete for longest were closed for new ones");
        }
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().ignore_poison()
    }
}

impl SlotTable {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, caller: Caller, displaced: &Arc<Notify>) -> u64 {
        let number = self.number();
        let slots = self.callers.entry(caller).or_default();
        slots.waiting.insert(number, Arc::clone(displaced));
        number
    }

    fn remove(&mut self, caller: Caller, number: u64) -> Option<Arc<Notify>> {
        let slots = self.callers.get_mut(&caller)?;
        let found = slots.waiting.remove(&number);
        let found = found.or_else(|| slots.serving.remove(&number));
        if slots.count() == 0 {
            self.callers.remove(&caller);
        }
        found
    }

    fn count(&self, caller: Caller) -> usize {
        self.callers.get(&caller).map_or(0, CallerSlots::count)
    }

    fn known(&self) -> impl Iterator<Item = (Caller, usize)> {
        let all = self.callers.iter();
        let known = all.filter(|(caller, _)| **caller != Caller::Unknown);
        known.map(|(caller, slots)| (*caller, slots.count()))
    }

    fn count_known(&self) -> usize {
        self.known().map(|(_, count)| count).sum()
    }

    fn heaviest_known(&self) -> Option<(Caller, usize)> {
        self.known().max_by_key(|(_, count)| *count)
    }

    /// Ends the connection of a caller that has waited for longest; if there is none and `also_serving`, the one whose
    /// request has taken longest.
    fn displace(&mut self, caller: Caller, also_serving: bool) -> bool {
        let Some(slots) = self.callers.get_mut(&caller) else {
            return false;
        };
        let oldest = slots.waiting.pop_first().or_else(|| {
            let serving = also_serving.then_some(&mut slots.serving);
            serving.and_then(BTreeMap::pop_first)
        });
        if slots.count() == 0 {
            self.callers.remove(&caller);
        }
        oldest.is_some_and(|(_, displaced)| {
            displaced.notify_one();
            true
        })
    }
}

impl ConnectionSlot {
    /// Notified when the connection has to end, because another one has taken its place.
    pub(super) fn displaced(&self) -> Arc<Notify> {
        Arc::clone(&self.displaced)
    }

    /// From now on the connection waits for its caller.
    pub(super) fn set_waiting(&mut self) {
        self.change(|slots| &mut slots.waiting);
    }

    /// From now on a request is answered.
    pub(super) fn set_serving(&mut self) {
        self.change(|slots| &mut slots.serving);
    }

    fn change(&mut self, state: impl Fn(&mut CallerSlots) -> &mut BTreeMap<u64, Arc<Notify>>) {
        let mut table = self.slots.table();
        // Otherwise it was displaced.
        if let Some(displaced) = table.remove(self.caller, self.number) {
            self.number = table.number();
            let slots = table.callers.entry(self.caller).or_default();
            state(slots).insert(self.number, displaced);
        }
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.caller == Caller::Unknown
    }

    /// The caller has shown the token. Returns false if there is no slot of a known caller.
    pub(super) fn admit(&mut self) -> bool {
        let slots = Arc::clone(&self.slots);
        let Some(mut table) = slots.make_room(Caller::Admitted) else {
            return false;
        };
        if table.remove(self.caller, self.number).is_some() {
            self.caller = Caller::Admitted;
            self.number = table.add(self.caller, &self.displaced);
        }
        true
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.table().remove(self.caller, self.number);
    }
}

#[cfg(test)]
mod tests;
