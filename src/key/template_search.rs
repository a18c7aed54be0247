//! Finds the largest template that a token accepts for C_GenerateKeyPair, where it refuses the full one.
//!
//! Tokens refuse attributes that others require, each with a code of its own (seen: CKR_ATTRIBUTE_TYPE_INVALID,
//! CKR_KEY_TYPE_INCONSISTENT, CKR_GENERAL_ERROR), and none says which attribute it was. So the refused ones are found by
//! bisection. A try that the token accepts makes a key, and a try may be a line in the device's log: few are made.

/// How CKA_ID is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdForm {
    /// 16 random bytes.
    Random,
    /// Two random bytes (YubiHSM 2: any other length needs an object of its own).
    Short,
    /// The label.
    Label,
    /// None: the token derives it (NetHSM: from the label, while a CKA_ID takes the label's place).
    Absent,
}

/// How the required attributes are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// CKA_CLASS and CKA_KEY_TYPE too, which PKCS#11 derives from the mechanism.
    pub(super) class: bool,
    /// CKA_EC_PARAMS in the private template too (CryptoAuthLib).
    pub(super) curve_in_both: bool,
    /// CKA_PRIVATE true in the public template too (AWS CloudHSM: nothing else is allowed; Luna Cloud HSM).
    pub(super) private_in_both: bool,
    /// CKA_ID
    pub(super) id: IdForm,
    /// Without CKA_SIGN and CKA_VERIFY: their defaults are checked afterwards.
    pub(super) default_use: bool,
}

impl Form {
    /// The attributes that the mechanism and the key's use require.
    pub(super) const PLAIN: Self = Self {
        class: false,
        curve_in_both: false,
        private_in_both: false,
        id: IdForm::Random,
        default_use: false,
    };

    /// In the order in which they are tried: what changes nothing of the key first.
    pub(super) const ALL: [Self; 16] = [
        Self::PLAIN,
        Self::PLAIN.with_class(),
        Self::PLAIN.with_class().with_curve(),
        Self::PLAIN.with_private(),
        Self::PLAIN.with_private().with_class(),
        Self::PLAIN.with_id(IdForm::Short),
        Self::PLAIN.with_id(IdForm::Short).with_class(),
        Self::PLAIN.with_id(IdForm::Label),
        Self::PLAIN.with_id(IdForm::Label).with_class(),
        Self::PLAIN.with_id(IdForm::Absent),
        Self::PLAIN.with_id(IdForm::Absent).with_class(),
        Self::PLAIN.by_default(),
        Self::PLAIN.by_default().with_class(),
        Self::PLAIN.by_default().with_class().with_curve(),
        Self::PLAIN.by_default().with_private().with_class(),
        Self::PLAIN.by_default().with_id(IdForm::Absent),
    ];

    /// In which ways it differs from the plain form.
    pub(super) fn differences(self) -> Vec<&'static str> {
        let flags = [
            (self.class, "CKA_CLASS and CKA_KEY_TYPE in both templates"),
            (
                self.curve_in_both,
                "CKA_EC_PARAMS in the private template too",
            ),
            (
                self.private_in_both,
                "CKA_PRIVATE true in the public template too",
            ),
            (self.default_use, "no CKA_SIGN and no CKA_VERIFY"),
        ];
        let id = match self.id {
            IdForm::Random => None,
            IdForm::Short => Some("CKA_ID of two bytes"),
            IdForm::Label => Some("CKA_ID is the label"),
            IdForm::Absent => Some("no CKA_ID"),
        };
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        set.map(|(_, difference)| difference).chain(id).collect()
    }

    const fn with_class(self) -> Self {
        Self {
            class: true,
            ..self
        }
    }

    const fn with_curve(self) -> Self {
        Self {
            curve_in_both: true,
            ..self
        }
    }

    const fn with_private(self) -> Self {
        Self {
            private_in_both: true,
            ..self
        }
    }

    /// With another CKA_ID.
    pub(super) const fn with_id(self, id: IdForm) -> Self {
        Self { id, ..self }
    }

    const fn by_default(self) -> Self {
        Self {
            default_use: true,
            ..self
        }
    }
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
    forms: &[Form],
    count: usize,
    mut accepts: impl FnMut(Form, &[usize]) -> Result<bool, E>,
) -> Result<Option<Accepted>, E> {
    for form in forms.iter().copied() {
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
        fn what_is_refused_is_found_singly(culprits in prop::collection::btree_set(0_usize..9, 0..4), form in 0_usize..16) {
            let form = Form::ALL[form];
            let mut tries = 0;
            let found = search(&Form::ALL, 9, |tried, kept| {
                tries += 1;
                Ok::<_, ()>(tried == form && kept.iter().all(|index| !culprits.contains(index)))
            });
            let found = found.ok().flatten();
            let refused = culprits.iter().copied().collect();
            prop_assert_eq!(found, Some(Accepted { form, refused }));
            prop_assert!(tries <= 16 + 15, "{} tries", tries);
        }
    }

    #[test]
    fn no_form_is_tried_twice() {
        for (index, form) in Form::ALL.iter().enumerate() {
            assert!(!Form::ALL[..index].contains(form), "{form:?}");
        }
    }

    #[test]
    fn a_failure_that_is_not_about_the_template_ends_the_search() {
        let failed = search(&Form::ALL, 9, |_, kept| match kept.len() {
            0 => Ok(true),
            _ => Err("the device is gone"),
        });
        assert_eq!(failed, Err("the device is gone"));
        assert_eq!(search(&Form::ALL, 9, |_, _| Ok::<_, ()>(false)), Ok(None));
    }
}
