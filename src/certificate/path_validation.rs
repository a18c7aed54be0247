//! Certification path validation (RFC 5280, section 6.1) of the client certificate's chain. rustls validates it too, but
//! compares names by their bytes and treats any constraint on directory names as violated: if rustls refuses a chain for
//! such a reason, this validation decides.

use std::time::SystemTime;

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, NameConstraints, SubjectAltName};

use super::anchors::{Anchors, Chain};
use super::name::DistinguishedName;
use super::{Certificate, CertificateError};

/// basicConstraints, keyUsage, subjectAltName, nameConstraints, extendedKeyUsage and certificatePolicies (no policy is
/// required).
const PROCESSED_EXTENSIONS: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
];

impl Certificate {
    /// The OIDs of the critical extensions that are not processed here.
    pub(crate) fn unknown_critical_extensions(&self) -> Vec<String> {
        let extensions = self.parsed.tbs_certificate().extensions();
        let extensions = extensions.into_iter().flatten();
        extensions
            .filter(|extension| {
                extension.critical && !PROCESSED_EXTENSIONS.contains(&extension.extn_id)
            })
            .map(|extension| extension.extn_id.to_string())
            .collect()
    }

    fn name_constraints(&self) -> Option<NameConstraints> {
        let found = self
            .parsed
            .tbs_certificate()
            .get_extension::<NameConstraints>();
        found.ok().flatten().map(|(_, constraints)| constraints)
    }

    /// Whether it has name constraints on other than DNS names and IP addresses.
    pub(crate) fn constrains_other_names(&self) -> bool {
        self.name_constraints().is_some_and(|constraints| {
            let permitted = constraints.permitted_subtrees.into_iter().flatten();
            let excluded = constraints.excluded_subtrees.into_iter().flatten();
            permitted.chain(excluded).any(|tree| {
                !matches!(
                    tree.base,
                    GeneralName::DnsName(_) | GeneralName::IpAddress(_)
                )
            })
        })
    }

    fn chain_error(&self, reason: &str) -> CertificateError {
        CertificateError::Chain(format!("{}: {reason}", self.subject()))
    }

    fn not_supported(&self, feature: String) -> CertificateError {
        let subject = self.subject().to_string();
        CertificateError::NotSupported { subject, feature }
    }

    /// Checks that this is a valid CA certificate that allows a path with `below` CAs below it.
    fn check_ca(&self, below: usize, now: SystemTime) -> Result<(), CertificateError> {
        let tbs = self.parsed.tbs_certificate();
        let validity = tbs.validity();
        if validity.not_after.to_system_time() < now || validity.not_before.to_system_time() > now {
            return Err(self.chain_error("the CA is out of its time"));
        }
        if !self.is_ca() {
            return Err(self.chain_error("basicConstraints does not say that it is a CA"));
        }
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
        let path_len = constraints.and_then(|(_, constraints)| constraints.path_len_constraint);
        if path_len.is_some_and(|limit| below > usize::from(limit)) {
            return Err(
                self.chain_error("there are more CAs below it than pathLenConstraint allows")
            );
        }
        let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
        if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err(self.chain_error("its keyUsage has no keyCertSign"));
        }
        Ok(())
    }

    /// Checks a certificate below this CA against the CA's name constraints (RFC 5280, section 4.2.1.10).
    fn check_name_constraints(&self, below: &Self) -> Result<(), CertificateError> {
        let Some(constraints) = self.name_constraints() else {
            return Ok(());
        };
        let names = below
            .parsed
            .tbs_certificate()
            .get_extension::<SubjectAltName>();
        let names = names.ok().flatten().map(|(_, names)| names.0);
        let names = names.unwrap_or_default();
        let bases = |trees: Option<Vec<_>>| -> Vec<GeneralName> {
            let trees: Vec<x509_cert::ext::pkix::constraints::name::GeneralSubtree> =
                trees.unwrap_or_default();
            trees.into_iter().map(|tree| tree.base).collect()
        };
        let permitted = bases(constraints.permitted_subtrees);
        let excluded = bases(constraints.excluded_subtrees);
        // A constraint applies only to certificates with a name of its form. Only those on directory names are supported.
        let is_unsupported = |base: &GeneralName| {
            let same_form =
                |name: &GeneralName| std::mem::discriminant(name) == std::mem::discriminant(base);
            names.iter().any(same_form)
        };
        if permitted.iter().chain(&excluded).any(is_unsupported) {
            return Err(self.not_supported(format!(
                "its name constraint on names like those in subjectAltName of {}",
                below.subject()
            )));
        }
        let directory = |base: &GeneralName| match base {
            GeneralName::DirectoryName(name) => Some(DistinguishedName::new(name)),
            _ => None,
        };
        let subject = below.subject();
        let permitted: Vec<_> = permitted.iter().filter_map(directory).collect();
        let excluded: Vec<_> = excluded.iter().filter_map(directory).collect();
        let within = |bases: &[DistinguishedName]| bases.iter().any(|base| subject.is_within(base));
        if (!permitted.is_empty() && !within(&permitted)) || within(&excluded) {
            return Err(self.chain_error(&format!(
                "its name constraints do not allow the name {subject}"
            )));
        }
        Ok(())
    }
}

impl Chain {
    /// Validates the path, but for its signatures, which were verified when the chain was built.
    ///
    /// # Errors
    /// A CA may not issue a certificate below it, or has a constraint or extension that is not supported.
    pub fn check_path(&self, anchors: &Anchors, now: SystemTime) -> Result<(), CertificateError> {
        let all: Vec<_> = self.certificates().collect();
        let root = all.last().and_then(|last| anchors.issuer_of(last));
        for (index, ca) in all.iter().enumerate().skip(1) {
            ca.check_ca(index - 1, now)?;
        }
        for certificate in &all {
            let unknown = certificate.unknown_critical_extensions();
            if !unknown.is_empty() {
                let feature = format!("its critical extension {}", unknown.join(", "));
                return Err(certificate.not_supported(feature));
            }
        }
        for (index, ca) in all.iter().copied().chain(root).enumerate().skip(1) {
            for below in &all[..index.min(all.len())] {
                ca.check_name_constraints(below)?;
            }
        }
        Ok(())
    }

    /// The pairs of certificate and issuer in which the issuer's name is encoded differently.
    pub fn differing_encodings<'a>(
        &'a self,
        anchors: &'a Anchors,
    ) -> Vec<(&'a Certificate, &'a Certificate)> {
        let all: Vec<_> = self.certificates().collect();
        let root = all.last().and_then(|last| anchors.issuer_of(last));
        let issuers = all.iter().copied().skip(1).chain(root);
        let pairs = all.iter().copied().zip(issuers);
        pairs
            .filter(|(below, issuer)| below.issuer().der() != issuer.subject().der())
            .collect()
    }
}
