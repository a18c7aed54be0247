//! What CAs demand of the certificates below them (RFC 5280, section 6.1), for our own chain. The TLS
//! library checks it too, and knows less: it compares names by their bytes, and takes any constraint on
//! directory names for violated. Its "no" is held against this.

use std::time::SystemTime;

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, NameConstraints, SubjectAltName};

use super::anchors::{Anchors, Chain};
use super::name::DistinguishedName;
use super::{Certificate, CertificateError};

/// basicConstraints, keyUsage, subjectAltName, nameConstraints, extendedKeyUsage, and the policies that
/// nobody demands here.
const PROCESSED: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
];

impl Certificate {
    /// The critical extensions that are not processed here, by their OIDs.
    pub(crate) fn unknown_critical_extensions(&self) -> Vec<String> {
        let extensions = self.parsed.tbs_certificate().extensions();
        let extensions = extensions.into_iter().flatten();
        extensions
            .filter(|extension| extension.critical && !PROCESSED.contains(&extension.extn_id))
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

    /// Whether its name constraints are on names that are not those of hosts.
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

    fn wrong(&self, what: &str) -> CertificateError {
        CertificateError::Chain(format!("{}: {what}", self.subject()))
    }

    fn not_supported(&self, what: String) -> CertificateError {
        let subject = self.subject().to_string();
        CertificateError::NotSupported { subject, what }
    }

    /// Whether it may issue, with so many CAs below it.
    fn check_as_ca(&self, below: usize, now: SystemTime) -> Result<(), CertificateError> {
        let tbs = self.parsed.tbs_certificate();
        let validity = tbs.validity();
        if validity.not_after.to_system_time() < now || validity.not_before.to_system_time() > now {
            return Err(self.wrong("the CA is out of its time"));
        }
        if !self.is_ca() {
            return Err(self.wrong("basicConstraints does not say that it is a CA"));
        }
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
        let most = constraints.and_then(|(_, constraints)| constraints.path_len_constraint);
        if most.is_some_and(|most| below > usize::from(most)) {
            return Err(self.wrong("there are more CAs below it than pathLenConstraint allows"));
        }
        let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
        if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err(self.wrong("its keyUsage has no keyCertSign"));
        }
        Ok(())
    }

    /// Holds a certificate against the name constraints of a CA above it (RFC 5280, section 4.2.1.10).
    fn check_name(&self, below: &Self) -> Result<(), CertificateError> {
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
        // A constraint on a form of name that the certificate does not have asks nothing of it.
        let is_open = |base: &GeneralName| {
            let same_form =
                |name: &GeneralName| std::mem::discriminant(name) == std::mem::discriminant(base);
            names.iter().any(same_form)
        };
        if permitted.iter().chain(&excluded).any(is_open) {
            return Err(self.not_supported(format!(
                "its name constraint on names like those in subjectAltName of {}",
                below.subject()
            )));
        }
        let directory = |base: &GeneralName| match base {
            GeneralName::DirectoryName(name) => Some(DistinguishedName::of(name)),
            _ => None,
        };
        let subject = below.subject();
        let permitted: Vec<_> = permitted.iter().filter_map(directory).collect();
        let excluded: Vec<_> = excluded.iter().filter_map(directory).collect();
        let within = |bases: &[DistinguishedName]| bases.iter().any(|base| subject.is_within(base));
        if (!permitted.is_empty() && !within(&permitted)) || within(&excluded) {
            return Err(self.wrong(&format!(
                "its name constraints do not allow the name {subject}"
            )));
        }
        Ok(())
    }
}

impl Chain {
    /// Whether each CA may issue what is below it. Signatures were checked when the chain was made.
    ///
    /// # Errors
    /// One may not, or that cannot be checked.
    pub(crate) fn check_path(
        &self,
        anchors: &Anchors,
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let all: Vec<_> = self.certificates().collect();
        let root = all.last().and_then(|last| anchors.issuer_of(last));
        for (index, ca) in all.iter().enumerate().skip(1) {
            ca.check_as_ca(index - 1, now)?;
        }
        for certificate in &all {
            let unknown = certificate.unknown_critical_extensions();
            if !unknown.is_empty() {
                let what = format!("its critical extension {}", unknown.join(", "));
                return Err(certificate.not_supported(what));
            }
        }
        for (index, ca) in all.iter().copied().chain(root).enumerate().skip(1) {
            for below in &all[..index.min(all.len())] {
                ca.check_name(below)?;
            }
        }
        Ok(())
    }

    /// The certificates that write their issuer's name in another encoding than the issuer does, as pairs.
    pub fn other_encodings<'a>(
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
