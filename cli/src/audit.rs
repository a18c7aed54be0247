//! The custody audit: can this private key leave its HSM, and who can use it? Answered with what was tried
//! kept apart from what the module claims.
//!
//! ```text
//! configuration ──► host · certificate ──► module · token ──► key: claims, trials ──► ledger ──► report
//!                   what files tell        before and after   by length only          what it
//!                                          the login                                  was used for
//! ```
//!
//! The rules are in [`rules`], and nowhere else. Nothing in the token is changed, unless trials on
//! disposable session keys are asked for.

pub mod answer;
mod certificate;
mod custody;
mod environments;
mod finding;
mod holder;
mod host;
pub mod html;
mod jwk;
mod key_files;
mod look;
mod place;
pub mod report;
pub mod rule;
pub mod rules;
mod subject;
mod tried;
mod uses;

pub use finding::{Judgement, Verdict};
pub use subject::{Asked, audit};
pub use uses::Use;
