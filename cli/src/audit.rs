//! The custody audit: can this private key leave its HSM, and who can use it? Results of probes are kept apart from claims
//! of the module.
//!
//! ```text
//! configuration ──► host · certificate ──► module · token ──► key: claims, probes ──► ledger ──► report
//!                   from files             before and after   lengths only            uses of
//!                                          the login                                  the key
//! ```
//!
//! [`rules`] is the list of all rules; each `*_check` judges the rules of one category. Nothing in the token is changed,
//! unless probes with disposable session keys are requested.

mod active_check;
mod both_keys;
mod certificate_check;
pub mod conclusion;
mod environments_check;
mod facts;
mod file_permissions;
mod finding;
mod host_check;
pub mod html;
mod jwk;
mod key_check;
mod key_file_format;
mod key_file_search;
mod key_twin;
mod ledger_check;
mod module_check;
mod named_paths;
mod probe_result;
pub mod report;
pub mod rule;
pub mod rules;
mod run;
mod text_encodings;
mod token_check;
mod token_probe;

pub use both_keys::audit;
pub use finding::{Judgement, Verdict};
pub use ledger_check::KeyUsage;
pub use run::AuditOptions;
