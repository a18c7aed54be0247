//! Names the CA of another generation, where the issuer of the server's chain is unknown for that reason: the scheme has rolled
//! its CAs over, and `anchors` has the old ones only.

use super::TlsError;
use crate::certificate::Certificate;
use crate::certificate::anchors::Anchors;
use crate::certificate::generation::other_generation;

/// [`TlsError::OtherGeneration`] for [`TlsError::ServerUntrusted`], if that explains it. `chain` is the server's, leaf first.
pub(super) fn explain(error: TlsError, chain: &[Certificate], anchors: &Anchors) -> TlsError {
    let TlsError::ServerUntrusted = error else {
        return error;
    };
    let held = || anchors.intermediates().iter().chain(anchors.roots());
    // From the end of the chain: a root that is missing explains more than the CA below it.
    let mut issuers = chain.iter().rev().map(Certificate::issuer);
    let found = issuers.find_map(|issuer| Some((other_generation(&issuer, held())?, issuer)));
    match found {
        Some((held, issuer)) => TlsError::OtherGeneration {
            issuer: issuer.to_string(),
            held: held.subject().to_string(),
        },
        None => error,
    }
}
