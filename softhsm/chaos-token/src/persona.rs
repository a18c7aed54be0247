//! Personas: the documented behaviours of one family of HSMs, as lines of the plan. They are simulated from documents; no such
//! device was ever compared with them.
//!
//! Each persona is a file of `personas/`, which names the source of each line: D, the vendor's documentation; U, a user's
//! report; C, the vendor's or a third party's code; I, an inference from the others.

use crate::words::without_comment;

/// The name and the text of each.
pub(crate) const PERSONAS: [(&str, &str); 9] = [
    ("aws", include_str!("../personas/aws.plan")),
    ("azure-cloud", include_str!("../personas/azure-cloud.plan")),
    (
        "cryptoauthlib",
        include_str!("../personas/cryptoauthlib.plan"),
    ),
    ("google", include_str!("../personas/google.plan")),
    ("luna", include_str!("../personas/luna.plan")),
    ("nethsm", include_str!("../personas/nethsm.plan")),
    ("nshield", include_str!("../personas/nshield.plan")),
    (
        "nshield-accelerator",
        include_str!("../personas/nshield-accelerator.plan"),
    ),
    ("yubihsm", include_str!("../personas/yubihsm.plan")),
];

/// The lines of a persona, without comments.
pub(crate) fn lines(name: &str) -> Result<impl Iterator<Item = &'static str>, String> {
    let mut personas = PERSONAS.iter();
    let (_, text) = personas
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("{name} is no persona that this module knows"))?;
    Ok(text.lines().map(without_comment))
}
