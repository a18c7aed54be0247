//! How the last reload ended, for `/readyz`: whoever has written a new PIN or certificate sees there whether it was taken, and why not.
//! A reload that was refused does not make the proxy unready, because what was in use goes on.

use std::sync::Mutex;

use serde_json::{Value, json};

use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// The last reload since the start of the front end.
#[derive(Default)]
pub(super) struct LastReload(Mutex<Option<EndedReload>>);

struct EndedReload {
    at: String,
    /// Why it was refused, and what to do about it.
    refused: Option<(String, String)>,
}

impl LastReload {
    /// Records the end of a reload. `refused` is why, and what to do about it.
    pub(super) fn ended(&self, refused: Option<(String, String)>) {
        *self.0.lock().ignore_poison() = Some(EndedReload {
            at: rfc3339::now(),
            refused,
        });
    }

    /// The part of the readiness report; null before the first reload.
    pub(super) fn report(&self) -> Value {
        match &*self.0.lock().ignore_poison() {
            None => Value::Null,
            Some(EndedReload { at, refused: None }) => json!({ "at": at, "good": true }),
            Some(EndedReload {
                at,
                refused: Some((detail, hint)),
            }) => json!({ "at": at, "good": false, "detail": detail, "hint": hint }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts() {
        let last = LastReload::default();
        assert_eq!(last.report(), Value::Null);
        last.ended(Some(("wrong".to_owned(), "mend it".to_owned())));
        let report = last.report();
        assert_eq!(
            (&report["good"], &report["detail"], &report["hint"]),
            (&json!(false), &json!("wrong"), &json!("mend it"))
        );
        last.ended(None);
        assert_eq!(last.report()["good"], true);
        assert_eq!(last.report()["detail"], Value::Null);
    }
}
