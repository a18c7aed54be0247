//! Which certificates a CRL speaks of: all of its issuer's, or by its issuingDistributionPoint (RFC 5280, section 5.2.5) only those
//! whose cRLDistributionPoints name the same place. Some CAs put that extension into each list, whole ones too.

use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::CrlDistributionPoints;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};

use super::RevocationList;
use crate::certificate::Certificate;

const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

impl RevocationList {
    /// Whether this is a delta CRL: it lists what was revoked since another list.
    pub fn is_delta(&self) -> bool {
        self.extension(DELTA_CRL_INDICATOR).is_some()
    }

    /// The content of its issuingDistributionPoint.
    pub fn scope(&self) -> Option<&[u8]> {
        self.extension(ISSUING_DISTRIBUTION_POINT)
    }

    /// Whether a certificate of its issuer that it does not list is not revoked.
    pub fn covers(&self, certificate: &Certificate) -> bool {
        let Some(scope) = self.scope() else {
            return !self.is_delta();
        };
        let Ok(scope) = IssuingDistributionPoint::from_der(scope) else {
            return false;
        };
        let of_some = scope.only_contains_attribute_certs
            || scope.indirect_crl
            || scope.only_some_reasons.is_some()
            || (scope.only_contains_ca_certs && !certificate.is_ca())
            || (scope.only_contains_user_certs && certificate.is_ca());
        let is_named = match scope.distribution_point {
            None => true,
            Some(DistributionPointName::FullName(names)) => {
                let known = certificate.crl_distribution_points();
                names.iter().any(|name| known.contains(name))
            }
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => false,
        };
        !self.is_delta() && !of_some && is_named
    }

    fn extension(&self, id: ObjectIdentifier) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|it| it.extn_id == id)?;
        Some(found.extn_value.as_bytes())
    }
}

impl Certificate {
    /// The places that its cRLDistributionPoints name (RFC 5280, section 4.2.1.13).
    fn crl_distribution_points(&self) -> Vec<GeneralName> {
        let tbs = self.parsed.tbs_certificate();
        let points = tbs.get_extension::<CrlDistributionPoints>();
        let points = points.ok().flatten().map(|(_, points)| points.0);
        let names =
            points
                .into_iter()
                .flatten()
                .filter_map(|point| match point.distribution_point? {
                    DistributionPointName::FullName(names) => Some(names),
                    DistributionPointName::NameRelativeToCRLIssuer(_) => None,
                });
        names.flatten().collect()
    }

    /// The http and https URLs among them.
    pub fn crl_urls(&self) -> Vec<String> {
        let names = self.crl_distribution_points().into_iter();
        let urls = names.filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(url) => Some(url.to_string()),
            _ => None,
        });
        urls.filter(|url| url.starts_with("http")).collect()
    }
}
