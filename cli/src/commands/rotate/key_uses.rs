//! What the ledger says of the two keys: when each signed last, and for what. A proxy that refused its reload goes on with the old
//! key, whatever the configuration names.

use std::path::Path;
use std::time::Duration;

use der::DateTime;
use hsm_mtls::internal::config::KeyRole;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::engine::Purpose;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, Record, RecordReader};
use hsm_mtls::internal::rfc3339;

use super::super::CommandError;

/// The uses of the two keys.
#[derive(Debug, Default)]
pub(super) struct KeyUses {
    /// Whether the files that are there hold the last switch to the new key: those of before may be archived.
    pub(super) has_switch: bool,
    /// Whether the new key has served since then.
    pub(super) new_served_since_switch: bool,
    /// When the old key signed last, for whatever purpose.
    pub(super) old_last: Option<u64>,
    /// When each key signed last what the role is for: a handshake or a token.
    pub(super) old_served: Option<u64>,
    pub(super) new_served: Option<u64>,
    /// Which of them did so last.
    last_is_new: bool,
}

/// A pair's name, and when its key served last.
pub(super) type LastSigner = (&'static str, u64);

impl KeyUses {
    /// Reads the ledger.
    ///
    /// # Errors
    /// It cannot be read, or its chain is broken.
    pub(super) fn read(
        ledger: &Path,
        role: KeyRole,
        (old, new): (Fingerprint, Option<Fingerprint>),
    ) -> Result<Self, CommandError> {
        let (old, new) = (old.to_string(), new.map(|new| new.to_string()));
        let mut uses = Self::default();
        let mut reader = RecordReader::open(ledger).map_err(CommandError::stage)?;
        let read = reader.read(|line| {
            if let LedgerLine::Record(record, _) = line {
                uses.add(&record, role, &old, new.as_deref());
            }
        });
        read.map_err(|flaw| {
            CommandError::usage(
                format!("the ledger does not say which key signed: {flaw}"),
                "look at it with `hsm-mtls ledger verify`; keep the files as they are: they are evidence",
            )
        })?;
        Ok(uses)
    }

    /// The same of the last records of a ledger, the newest first, and the time of the switch, which may be before them.
    pub(super) fn of_recent(
        records: &[Record],
        role: KeyRole,
        (old, new): (Fingerprint, Option<Fingerprint>),
        switched: Option<u64>,
    ) -> Self {
        let (old, new) = (old.to_string(), new.map(|new| new.to_string()));
        let mut uses = Self::default();
        for record in records.iter().rev() {
            uses.add(record, role, &old, new.as_deref());
        }
        if let (false, Some(switched)) = (uses.has_switch, switched) {
            uses.new_served_since_switch = uses.new_served.is_some_and(|at| at >= switched);
        }
        uses
    }

    fn add(&mut self, record: &Record, role: KeyRole, old: &str, new: Option<&str>) {
        let Some(at) = seconds(&record.time) else {
            return;
        };
        if record.kind == "rotation" && record.step.as_deref() == Some("switch") {
            let is_to_new = new.is_some() && record.spki.as_deref() == new;
            self.has_switch |= is_to_new;
            self.new_served_since_switch &= !is_to_new;
        }
        if record.kind != "attempt" {
            return;
        }
        let serves = record
            .purpose
            .as_deref()
            .is_some_and(|purpose| is_service(role, purpose));
        match record.spki.as_deref() {
            Some(spki) if spki == old => {
                self.old_last = Some(at);
                if serves {
                    self.old_served = Some(at);
                    self.last_is_new = false;
                }
            }
            spki if spki.is_some() && spki == new && serves => {
                self.new_served = Some(at);
                self.new_served_since_switch = self.has_switch;
                self.last_is_new = true;
            }
            _ => {}
        }
    }

    /// The pair whose key served last.
    pub(super) fn last_signer(&self) -> Option<LastSigner> {
        match self.last_is_new {
            true => self.new_served.map(|at| ("new", at)),
            false => self.old_served.map(|at| ("old", at)),
        }
    }
}

/// Whether this is what a key of the role is for, and not a proof or a request.
pub(in crate::commands) fn is_service(role: KeyRole, purpose: &str) -> bool {
    let of_role: &[Purpose] = match role {
        KeyRole::C3 => &[Purpose::Tls13ClientAuth, Purpose::Tls12ClientAuth],
        KeyRole::Sig4 => &[Purpose::Jwt],
    };
    of_role.iter().any(|known| known.name() == purpose)
}

/// What a key of the role signs, for a person.
pub(super) fn service_of(role: KeyRole) -> &'static str {
    match role {
        KeyRole::C3 => "a handshake",
        KeyRole::Sig4 => "a token",
    }
}

/// The whole seconds of a record's time, after the Unix epoch.
pub(in crate::commands) fn seconds(time: &str) -> Option<u64> {
    let whole: DateTime = format!("{}Z", time.get(..19)?).parse().ok()?;
    let since: Duration = whole.unix_duration();
    Some(since.as_secs())
}

/// The time, as RFC 3339; "never" for none.
pub(super) fn at_or_never(time: Option<u64>) -> String {
    time.map_or_else(|| "never".to_owned(), rfc3339::of_unix)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn the_time_of_a_record_is_read_without_its_fraction() {
        assert_eq!(seconds("1970-01-01T00:01:00.999999Z"), Some(60));
        assert_eq!(seconds("2026-11-24T00:00:00Z"), Some(1_795_478_400));
        assert_eq!(seconds("yesterday"), None);
    }
}
