//! Finds the largest template that a token accepts for C_GenerateKeyPair, where it refuses the full one.
//!
//! Tokens refuse attributes that others require, each with a code of its own (seen: CKR_ATTRIBUTE_TYPE_INVALID,
//! CKR_KEY_TYPE_INCONSISTENT, CKR_GENERAL_ERROR), and none says which attribute it was. So the refused ones are found by
//! bisection. A try that the token accepts makes a key, and a try may be a line in the device's log: few are made.

/// How the required attributes are written down. Each form adds to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// The attributes that the mechanism and the key's use require.
    Plain,
    /// CKA_CLASS and CKA_KEY_TYPE too, which PKCS#11 derives from the mechanism.
    WithClass,
    /// CKA_EC_PARAMS in the private template too (CryptoAuthLib).
    CurveInBoth,
    /// A CKA_ID of two bytes (YubiHSM 2).
    ShortId,
    /// A CKA_ID that is the label (NetHSM).
    IdIsLabel,
    /// Without CKA_SIGN and CKA_VERIFY: their defaults are checked afterwards.
    DefaultUse,
}

impl Form {
    pub(super) const ALL: [Self; 6] = [
        Self::Plain,
        Self::WithClass,
        Self::CurveInBoth,
        Self::ShortId,
        Self::IdIsLabel,
        Self::DefaultUse,
    ];
}

/// A template that the token accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) form: Form,
    /// Which of the restrictions the token refuses: indices in ascending order.
    pub(super) refused: Vec<usize>,
}

/// Finds the form and the restrictions (`0..count`) that the token accepts. `accepts` tries a form with some of the
/// restrictions: `Ok(false)` where the token refuses this template. `None`: it accepts no form, even without restrictions.
///
/// # Errors
/// What `accepts` returns: a failure that is not about the template ends the search.
pub(super) fn search<E>(
    count: usize,
    mut accepts: impl FnMut(Form, &[usize]) -> Result<bool, E>,
) -> Result<Option<Accepted>, E> {
    for form in Form::ALL {
        if accepts(form, &[])? {
            let all: Vec<usize> = (0..count).collect();
            let mut refused = Vec::new();
            bisect(&all, false, &mut refused, &mut |kept| accepts(form, kept))?;
            return Ok(Some(Accepted { form, refused }));
        }
    }
    Ok(None)
}

/// Adds those of `part` that are refused to `refused`. `is_refused`: that the whole part is refused is known already.
fn bisect<E>(
    part: &[usize],
    is_refused: bool,
    refused: &mut Vec<usize>,
    accepts: &mut dyn FnMut(&[usize]) -> Result<bool, E>,
) -> Result<(), E> {
    if part.is_empty() || (!is_refused && accepts(part)?) {
        return Ok(());
    }
    if let [only] = part {
        refused.push(*only);
        return Ok(());
    }
    // The restrictions that tokens refuse most are at the end.
    let (rarely, often) = part.split_at((part.len() * 2 / 3).max(1));
    let before = refused.len();
    bisect(rarely, false, refused, accepts)?;
    let blameless = refused.len() == before;
    bisect(often, blameless, refused, accepts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a token refuses, exactly that is found, in fewer tries than one for each pair.
        #[test]
        fn what_is_refused_is_found_singly(culprits in prop::collection::btree_set(0_usize..9, 0..4), form in 0_usize..6) {
            let form = Form::ALL[form];
            let mut tries = 0;
            let found = search(9, |tried, kept| {
                tries += 1;
                Ok::<_, ()>(tried >= form && kept.iter().all(|index| !culprits.contains(index)))
            });
            let found = found.ok().flatten();
            let refused = culprits.iter().copied().collect();
            prop_assert_eq!(found, Some(Accepted { form, refused }));
            prop_assert!(tries <= 6 + 15, "{} tries", tries);
        }
    }

    #[test]
    fn a_failure_that_is_not_about_the_template_ends_the_search() {
        let failed = search(9, |_, kept| match kept.len() {
            0 => Ok(true),
            _ => Err("the device is gone"),
        });
        assert_eq!(failed, Err("the device is gone"));
        assert_eq!(search(9, |_, _| Ok::<_, ()>(false)), Ok(None));
    }
}
