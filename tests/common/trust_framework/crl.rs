//! The lists of what the two CAs have revoked.

use der::Decode as _;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, Issuer,
    KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::{BACKDATED, TrustFramework};

impl TrustFramework {
    /// The issuing CA's CRL as PEM that revokes these certificates and is good until `until` from now.
    pub fn crl(&self, revoked: &[&CertificateDer<'_>], until: Duration) -> String {
        list(&self.issuer, revoked, until)
    }

    /// The issuing CA's CRL as DER with this number, made so long ago.
    pub fn crl_numbered(
        &self,
        number: u64,
        age: Duration,
        revoked: &[&CertificateDer<'_>],
        until: Duration,
    ) -> Vec<u8> {
        let list = CertificateRevocationListParams {
            this_update: OffsetDateTime::now_utc() - age,
            crl_number: SerialNumber::from(number),
            ..params(revoked, until)
        };
        list.signed_by(&self.issuer).expect("a CRL").der().to_vec()
    }

    /// The issuing CA's CRL as PEM that says where it is published (issuingDistributionPoint), and revokes nothing.
    pub fn crl_published_at(&self, url: &str) -> String {
        let list = CertificateRevocationListParams {
            issuing_distribution_point: Some(CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint {
                    uris: vec![url.to_owned()],
                },
                scope: None,
            }),
            ..params(&[], Duration::days(7))
        };
        list.signed_by(&self.issuer)
            .expect("a CRL")
            .pem()
            .expect("PEM")
    }

    /// The issuing CA's CRL as DER that revokes so many certificates that nobody has.
    pub fn crl_of_many(&self, count: u64) -> Vec<u8> {
        let entry = |number: u64| RevokedCertParams {
            serial_number: SerialNumber::from((1 << 63) + number),
            revocation_time: OffsetDateTime::now_utc() - BACKDATED,
            reason_code: Some(RevocationReason::Superseded),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            revoked_certs: (0..count).map(entry).collect(),
            ..params(&[], Duration::days(7))
        };
        list.signed_by(&self.issuer).expect("a CRL").der().to_vec()
    }

    /// The same of the root.
    pub fn crl_of_root(&self, revoked: &[&CertificateDer<'_>], until: Duration) -> String {
        let root = Issuer::from_ca_cert_der(&self.root, &self.root_key).expect("a root");
        list(&root, revoked, until)
    }
}

fn list(
    issuer: &Issuer<'_, impl SigningKey>,
    revoked: &[&CertificateDer<'_>],
    until: Duration,
) -> String {
    let signed = params(revoked, until).signed_by(issuer).expect("a CRL");
    signed.pem().expect("PEM")
}

fn params(revoked: &[&CertificateDer<'_>], until: Duration) -> CertificateRevocationListParams {
    let now = OffsetDateTime::now_utc();
    let entry = |certificate: &&CertificateDer<'_>| {
        let parsed = x509_cert::Certificate::from_der(certificate).expect("a certificate");
        let serial = parsed.tbs_certificate().serial_number().as_bytes();
        RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now - BACKDATED,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }
    };
    CertificateRevocationListParams {
        this_update: now - Duration::days(30),
        next_update: now + until,
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}
