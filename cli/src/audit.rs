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

mod certificate_check;
pub mod conclusion;
mod environments_check;
mod file_permissions;
mod finding;
mod host_check;
pub mod html;
mod jwk;
mod key_check;
mod key_file_search;
mod ledger_check;
mod probe_result;
pub mod report;
pub mod rule;
pub mod rules;
mod run;
mod token_check;
mod token_probe;

pub use finding::{Judgement, Verdict};
pub use ledger_check::KeyUsage;
pub use run::{Asked, audit};
