//! `x-fapi-interaction-id`: a UUIDv4 is kept, any other value is replaced by a new one, because the hub drops it
//! silently.

use std::sync::Mutex;

use aws_lc_rs::rand;
use http::{HeaderMap, HeaderValue};
use uuid::{Builder, Uuid};

use hsm_mtls::internal::client::INTERACTION_ID;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::uuid_format::is_uuid_v4;

/// The number of random bytes that are fetched in one system call, which costs more than making an id.
const RANDOM_BUFFER: usize = 64 * 16;

/// Generates interaction ids.
#[derive(Debug, Default)]
pub(super) struct InteractionIdGenerator {
    random: Mutex<Vec<u8>>,
}

impl InteractionIdGenerator {
    /// Returns the interaction id of a request. Afterwards its headers carry exactly this one.
    pub(super) fn ensure(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(INTERACTION_ID).iter();
        if let (Some(id), None) = (given.next(), given.next())
            && is_uuid_v4(id.as_bytes())
        {
            return id.clone();
        }
        let id = self.generate();
        headers.insert(INTERACTION_ID, id.clone());
        id
    }

    /// A new id.
    pub(super) fn generate(&self) -> HeaderValue {
        let mut text = Uuid::encode_buffer();
        let text = self.uuid().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
    }

    fn uuid(&self) -> Uuid {
        let mut random = self.random.lock().ignore_poison();
        if random.len() < 16 {
            random.resize(RANDOM_BUFFER, 0);
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
    fn an_id_that_is_no_uuid_v4_is_replaced() {
        let ids = InteractionIdGenerator::default();
        let ensured = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(INTERACTION_ID, value.parse().unwrap());
            }
            let id = ids.ensure(&mut headers);
            assert_eq!(headers.get_all(INTERACTION_ID).iter().count(), 1);
            assert_eq!(headers[INTERACTION_ID], id);
            assert!(is_uuid_v4(id.as_bytes()), "{id:?}");
            id
        };
        let good = "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35";
        assert_eq!(ensured(&[good]), good);
        for bad in [
            "",
            "3f1c9d2e-5a64-1b7e-9f8d-0c2b7a6e1d35",
            "3f1c9d2e5a644b7e9f8d0c2b7a6e1d35",
            "{3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35}",
        ] {
            assert_ne!(ensured(&[bad]), bad);
        }
        assert_ne!(ensured(&[good, good]), good);
        let mut many: Vec<_> = (0..1000).map(|_| ensured(&[])).collect();
        many.sort();
        many.dedup();
        assert_eq!(many.len(), 1000);
    }
}
