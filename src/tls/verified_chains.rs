//! Server chains that were verified a moment ago. A hub that closes each connection sends the same chain with each: its signatures
//! and its revocation need not be computed anew within a minute.
//!
//! Only a success is kept, for exactly these certificates and this name, with the trust anchors and CRLs of one [`TrustStore`],
//! and never beyond the first notAfter or nextUpdate among them. That the server has the key, and that it asks for our
//! certificate, is checked in each handshake all the same.
//!
//! [`TrustStore`]: super::trust::TrustStore

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certificate::Certificate;
use crate::poison::IgnorePoison as _;

/// How long a chain counts as verified.
const MAX_AGE: Duration = Duration::from_secs(60);

/// So many chains are kept: a hub of several servers has a certificate for each.
const MAX_CHAINS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct VerifiedChains(Mutex<VecDeque<VerifiedChain>>);

#[derive(Debug)]
struct VerifiedChain {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    since: UnixTime,
    until: UnixTime,
}

impl VerifiedChains {
    /// Whether this chain, as the server sent it, was verified for this name a moment ago.
    pub(super) fn contains(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        // A clock that was set back may lie before notBefore.
        self.lock().iter().any(|known| {
            (known.since..known.until).contains(&now)
                && known.leaf == *leaf
                && known.intermediates == intermediates
                && known.name == *name
        })
    }

    /// Keeps a chain that was verified at `now`. `others` are the CAs that may have completed it, and `crls_until` is when the
    /// first CRL is outdated.
    pub(super) fn insert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        crls_until: SystemTime,
    ) {
        let not_after = |der: &CertificateDer<'_>| {
            let certificate = Certificate::from_der(der, "the server").ok()?;
            Some(unix(certificate.not_after_time()))
        };
        // Of a certificate that this crate cannot read nothing is known.
        let sent = std::iter::once(leaf).chain(intermediates).map(not_after);
        let Some(mut until) = sent.collect::<Option<Vec<_>>>() else {
            return;
        };
        // One that had ended before has not been used.
        let of_others = others.iter().filter_map(not_after);
        until.extend(of_others.filter(|until| *until > now));
        until.push(unix(crls_until));
        until.push(UnixTime::since_unix_epoch(
            Duration::from_secs(now.as_secs()) + MAX_AGE,
        ));
        let Some(until) = until.into_iter().min() else {
            return;
        };
        let mut chains = self.lock();
        chains.retain(|known| known.leaf != *leaf || known.name != *name);
        if chains.len() == MAX_CHAINS {
            chains.pop_front();
        }
        chains.push_back(VerifiedChain {
            leaf: leaf.clone().into_owned(),
            intermediates: intermediates
                .iter()
                .map(|der| der.clone().into_owned())
                .collect(),
            name: name.to_owned(),
            since: now,
            until,
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<VerifiedChain>> {
        self.0.lock().ignore_poison()
    }
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// A certificate that ends at the beginning of this day of January 2030, and that time.
    fn certificate(day: u8) -> (CertificateDer<'static>, u64) {
        let mut params = CertificateParams::new(["hub.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, day);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        (der, params.not_after.unix_timestamp() as u64)
    }

    #[test]
    fn a_chain_is_known_for_a_minute_and_never_beyond_what_it_rests_on() {
        let name = ServerName::try_from("hub.example").unwrap();
        let other_name = ServerName::try_from("other.example").unwrap();
        let (leaf, ends) = certificate(10);
        let (earlier, earlier_ends) = certificate(5);
        let (later, _) = certificate(20);
        let never = UNIX_EPOCH + Duration::from_secs(ends * 2);
        let chains = VerifiedChains::default();
        let of = |now| chains.contains(&leaf, std::slice::from_ref(&later), &name, at(now));
        let insert = |now, others: &[CertificateDer<'_>], crls| {
            chains.insert(
                &leaf,
                std::slice::from_ref(&later),
                others,
                &name,
                at(now),
                crls,
            );
        };

        let now = ends - 1000;
        assert!(!of(now));
        insert(now, &[], never);
        assert!(of(now) && of(now + 59) && !of(now + 60));
        // Not for another time before, name, leaf or intermediate.
        assert!(!of(now - 1));
        assert!(!chains.contains(&leaf, std::slice::from_ref(&later), &other_name, at(now)));
        assert!(!chains.contains(&later, std::slice::from_ref(&later), &name, at(now)));
        assert!(!chains.contains(&leaf, &[], &name, at(now)));
        assert!(!chains.contains(&leaf, std::slice::from_ref(&earlier), &name, at(now)));

        // The leaf's end, a CRL's, and that of a CA which may have completed the chain.
        insert(ends - 10, &[], never);
        assert!(of(ends - 1) && !of(ends));
        insert(now, &[], UNIX_EPOCH + Duration::from_secs(now + 7));
        assert!(of(now + 6) && !of(now + 7));
        insert(earlier_ends - 5, std::slice::from_ref(&earlier), never);
        assert!(of(earlier_ends - 1) && !of(earlier_ends));
        insert(earlier_ends, std::slice::from_ref(&earlier), never);
        assert!(of(earlier_ends + 59));

        // What cannot be read is not kept.
        let unreadable = CertificateDer::from(vec![0x30, 0]);
        chains.insert(&unreadable, &[], &[], &name, at(now), never);
        assert!(!chains.contains(&unreadable, &[], &name, at(now)));
    }

    #[test]
    fn few_chains_are_kept() {
        let name = ServerName::try_from("hub.example").unwrap();
        let chains = VerifiedChains::default();
        let (now, never) = (at(1_900_000_000), UNIX_EPOCH + Duration::from_secs(1 << 40));
        let leaves: Vec<_> = (0..=MAX_CHAINS).map(|_| certificate(1)).collect();
        let now = at(now.as_secs().min(leaves[0].1 - 100));
        for (leaf, _) in &leaves {
            chains.insert(leaf, &[], &[], &name, now, never);
        }
        let known = |(leaf, _): &&(CertificateDer<'_>, u64)| chains.contains(leaf, &[], &name, now);
        assert_eq!(leaves.iter().filter(known).count(), MAX_CHAINS);
        assert!(!known(&&leaves[0]));
    }
}
