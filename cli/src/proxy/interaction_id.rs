//! `x-fapi-interaction-id`: kept where it is a UUIDv4, replaced where it is not. The hub drops any
//! other value silently.

use std::sync::Mutex;

use aws_lc_rs::rand;
use http::{HeaderMap, HeaderValue};
use uuid::{Builder, Uuid};

use hsm_mtls::internal::client::INTERACTION_ID;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::uuid_format::is_uuid_v4;

/// Random bytes that are fetched at once: a call of the system for each id costs more than the id.
const AT_ONCE: usize = 64 * 16;

/// Makes ids.
#[derive(Debug, Default)]
pub(super) struct InteractionIds {
    random: Mutex<Vec<u8>>,
}

impl InteractionIds {
    /// The id of a request, which its headers carry afterwards exactly once.
    pub(super) fn of(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(INTERACTION_ID).iter();
        if let (Some(id), None) = (given.next(), given.next())
            && is_uuid_v4(id.as_bytes())
        {
            return id.clone();
        }
        let id = self.fresh();
        headers.insert(INTERACTION_ID, id.clone());
        id
    }

    /// A fresh one.
    pub(super) fn fresh(&self) -> HeaderValue {
        let mut text = Uuid::encode_buffer();
        let text = self.uuid().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
    }

    fn uuid(&self) -> Uuid {
        let mut random = self.random.lock().ignore_poison();
        if random.len() < 16 {
            random.resize(AT_ONCE, 0);
            if rand::fill(&mut random).is_err() {
                random.clear();
                return Uuid::new_v4();
            }
        }
        let rest = random.len() - 16;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&random[rest..]);
        random.truncate(rest);
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_uuid_of_version_4_is_replaced() {
        let ids = InteractionIds::default();
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(INTERACTION_ID, value.parse().unwrap());
            }
            let id = ids.of(&mut headers);
            assert_eq!(headers.get_all(INTERACTION_ID).iter().count(), 1);
            assert_eq!(headers[INTERACTION_ID], id);
            assert!(is_uuid_v4(id.as_bytes()), "{id:?}");
            id
        };
        let good = "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35";
        assert_eq!(of(&[good]), good);
        for bad in [
            "",
            "3f1c9d2e-5a64-1b7e-9f8d-0c2b7a6e1d35",
            "3f1c9d2e5a644b7e9f8d0c2b7a6e1d35",
            "{3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35}",
        ] {
            assert_ne!(of(&[bad]), bad);
        }
        assert_ne!(of(&[good, good]), good);
        let mut many: Vec<_> = (0..1000).map(|_| of(&[])).collect();
        many.sort();
        many.dedup();
        assert_eq!(many.len(), 1000);
    }
}
