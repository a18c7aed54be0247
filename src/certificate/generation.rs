//! Finds a CA that is held in another generation than the one that is needed: after a rollover of the scheme's CAs, whoever has
//! not loaded the new ones sees an unknown issuer, whose name differs from a known one in its last digit.

use super::Certificate;
use super::name::{COMMON_NAME, COUNTRY, DistinguishedName, ORGANIZATION, ORGANIZATIONAL_UNIT};
use crate::config::ca_generation::split_generation;

impl Certificate {
    /// The generation in the subject's common name; `None` if it names none.
    pub fn generation(&self) -> Option<u32> {
        let name = self.subject().first(COMMON_NAME)?;
        split_generation(&name).map(|(_, number)| number)
    }
}

/// The newest of these CAs whose name is `issuer` but for the generation. `None` if one has the very name. A name proves
/// nothing: it says what to look for, and never what to trust.
pub(crate) fn other_generation<'a>(
    issuer: &DistinguishedName,
    held: impl Iterator<Item = &'a Certificate>,
) -> Option<&'a Certificate> {
    let wanted_name = issuer.first(COMMON_NAME)?;
    let (wanted, number) = split_generation(&wanted_name)?;
    let held: Vec<_> = held.collect();
    if held.iter().any(|ca| ca.subject() == *issuer) {
        return None;
    }
    let others = held.into_iter().filter_map(|ca| {
        let subject = ca.subject();
        let name = subject.first(COMMON_NAME)?;
        let (base, other) = split_generation(&name)?;
        let same = base.eq_ignore_ascii_case(wanted)
            && other != number
            && [COUNTRY, ORGANIZATION, ORGANIZATIONAL_UNIT]
                .iter()
                .all(|attribute| subject.all(*attribute) == issuer.all(*attribute));
        same.then_some((other, ca))
    });
    others.max_by_key(|(number, _)| *number).map(|(_, ca)| ca)
}
