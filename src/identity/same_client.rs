//! Several tokens act for one client: their certificates have one subject, or the hub would take the same request from two clients. A key
//! that is in two of them is a copy, which the configuration has to say.

use crate::certificate::{self, Certificate};
use crate::config::{CertificateSource, Config};

/// Why two tokens do not go together: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The first of the certificates in the file that a token's configuration names. `None`: it is in the token, or cannot be read.
pub fn leaf_in_file(config: &Config) -> Option<Certificate> {
    match &config.c3.certificate {
        CertificateSource::File(path) => certificate::read_file(path).ok()?.into_iter().next(),
        CertificateSource::Token(_) => None,
    }
}

/// Whether two tokens, each with its certificate, do not go together.
pub fn conflict(
    (config, leaf): (&Config, &Certificate),
    (other_config, other_leaf): (&Config, &Certificate),
) -> Option<Conflict> {
    let name = |config: &Config| config.token.name.clone().unwrap_or_default();
    let (own, other) = (name(config), name(other_config));
    let (subject, other_subject) = (leaf.subject(), other_leaf.subject());
    if subject.to_string() != other_subject.to_string() {
        return Some(Conflict {
            message: format!(
                "the tokens {own} and {other} have certificates of two clients: {subject}, and {other_subject}"
            ),
            hint: format!(
                "have a certificate issued for the same subject (`hsm-mtls csr --token {own}`), and install it"
            ),
        });
    }
    let is_copy = leaf.public_key().is_some() && leaf.public_key() == other_leaf.public_key();
    let is_said = config.token.clone || other_config.token.clone;
    (is_copy && !is_said).then(|| Conflict {
        message: format!("the tokens {own} and {other} hold one key, and neither is said to be a clone"),
        hint: "write clone = true in the place of `certificate`, if the copy is meant; else make a key of its own"
            .to_owned(),
    })
}

/// The first two of these tokens that do not go together, as far as their certificates are in files.
pub fn conflict_in_files(of_each: &[Config]) -> Option<Conflict> {
    let leaves = of_each
        .iter()
        .filter_map(|config| Some((config, leaf_in_file(config)?)));
    let leaves: Vec<_> = leaves.collect();
    leaves
        .iter()
        .enumerate()
        .find_map(|(number, (config, leaf))| {
            let mut before = leaves.iter().take(number);
            before.find_map(|(other, other_leaf)| conflict((*config, leaf), (*other, other_leaf)))
        })
}
