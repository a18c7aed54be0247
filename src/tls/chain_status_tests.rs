//! Statuses by lists of a CA that the test makes, at the times that the test gives.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::CertificateError;
use time::{Duration as Span, OffsetDateTime};

use super::*;

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, name.to_owned());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().into();
    Ca {
        der,
        issuer: Issuer::new(params, key),
    }
}

impl Ca {
    /// A server's certificate that is valid for ten days.
    fn leaf(&self, serial: u64) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = OffsetDateTime::now_utc() - Span::days(1);
        params.not_after = OffsetDateTime::now_utc() + Span::days(10);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().into()
    }

    /// A list that is good for a day.
    fn list(&self, revoked: &[u64]) -> Arc<Vec<u8>> {
        let now = OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now - Span::hours(1),
            next_update: now + Span::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        Arc::new(list.der().to_vec())
    }
}

fn status(roots: &[&Ca], lists: &[Arc<Vec<u8>>], leaf: LeafStatus, stale: StaleCrl) -> ChainStatus {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let crls = Arc::new(Crls::of_lists(lists, stale));
    ChainStatus::new(&Arc::new(store), &provider, &crls, leaf)
}

fn in_days(days: u64) -> UnixTime {
    let seconds = UnixTime::now().as_secs() + days * 86_400;
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn remembered(status: &ChainStatus) -> usize {
    status.good.lock().unwrap().len()
}

#[test]
fn a_good_chain_is_remembered_until_the_list_is_outdated() {
    let ca = ca("one");
    let status = status(
        &[&ca],
        &[ca.list(&[7])],
        LeafStatus::Required,
        StaleCrl::Refuse,
    );
    let leaf = ca.leaf(1);
    for _ in 0..2 {
        status.check(&leaf, &[], in_days(0)).unwrap();
        assert_eq!(remembered(&status), 1);
    }
    let outdated = status.check(&leaf, &[], in_days(2)).unwrap_err();
    assert!(
        matches!(
            outdated,
            Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { .. })
        ),
        "{outdated}"
    );
    let until = status.good.lock().unwrap()[0].until;
    assert!(until > in_days(0) && until <= in_days(1), "{until:?}");
}

#[test]
fn where_outdated_lists_count_a_chain_is_remembered_until_it_expires() {
    let ca = ca("one");
    let status = status(
        &[&ca],
        &[ca.list(&[7])],
        LeafStatus::Required,
        StaleCrl::Warn,
    );
    let leaf = ca.leaf(1);
    status.check(&leaf, &[], in_days(5)).unwrap();
    let until = status.good.lock().unwrap()[0].until;
    assert!(until > in_days(9) && until <= in_days(10), "{until:?}");
}

#[test]
fn what_is_revoked_is_refused_each_time_and_not_remembered() {
    let ca = ca("one");
    let status = status(
        &[&ca],
        &[ca.list(&[7])],
        LeafStatus::Required,
        StaleCrl::Refuse,
    );
    let (good, revoked) = (ca.leaf(1), ca.leaf(7));
    status.check(&good, &[], in_days(0)).unwrap();
    for _ in 0..2 {
        let error = status.check(&revoked, &[], in_days(0)).unwrap_err();
        assert_eq!(error, CertificateError::Revoked.into());
    }
    assert_eq!(remembered(&status), 1);
}

#[test]
fn a_leaf_of_which_no_list_speaks_is_refused_where_its_status_is_required() {
    let (one, other) = (ca("one"), ca("other"));
    let leaf = one.leaf(1);
    let lists = [other.list(&[])];
    for (policy, expected) in [
        (
            LeafStatus::Required,
            Err(CertificateError::UnknownRevocationStatus.into()),
        ),
        (LeafStatus::Optional, Ok(())),
    ] {
        let status = status(&[&one, &other], &lists, policy, StaleCrl::Refuse);
        assert_eq!(status.check(&leaf, &[], in_days(0)), expected);
    }
}

/// A list that somebody else made in the CA's name.
#[test]
fn a_list_with_another_signature_is_refused() {
    let (ca, namesake) = (ca("one"), ca("one"));
    let lists = [namesake.list(&[])];
    let status = status(&[&ca], &lists, LeafStatus::Required, StaleCrl::Refuse);
    let error = status.check(&ca.leaf(1), &[], in_days(0)).unwrap_err();
    assert!(
        matches!(error, Error::InvalidCertRevocationList(_)),
        "{error}"
    );
}

#[test]
fn no_more_chains_are_remembered_than_a_hub_has() {
    let ca = ca("one");
    let status = status(
        &[&ca],
        &[ca.list(&[])],
        LeafStatus::Required,
        StaleCrl::Refuse,
    );
    for serial in 1..=MAX_CHAINS as u64 + 1 {
        status.check(&ca.leaf(serial), &[], in_days(0)).unwrap();
    }
    assert_eq!(remembered(&status), 1);
}
