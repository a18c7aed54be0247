//! Finds the slot of exactly one token by its CK_TOKEN_INFO, never by the slot's number, which may change.

use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

use super::TokenError;
use super::description::{TokenDescription, read_slots};
use super::module::Module;
use crate::config::uri::Pkcs11Uri;
use crate::polling::poll_until;

/// How long a token may give no information while another process writes to it.
const REWRITTEN: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_millis(5);

/// The slot of exactly one token that `uri` names.
///
/// SoftHSM writes its token's file anew at each login of any process; C_GetTokenInfo of a process that reads it meanwhile
/// returns CKR_GENERAL_ERROR. So a fault that names no cause is asked about again for a moment.
///
/// # Errors
/// No token or several tokens match, or the slots cannot be read.
pub(super) fn select_slot(
    module: &Module,
    uri: &Pkcs11Uri,
) -> Result<(Slot, TokenDescription), TokenError> {
    let deadline = Instant::now() + REWRITTEN;
    let mut unexplained = None;
    let selected = poll_until(deadline, INTERVAL, || match matching_slot(module, uri) {
        Err(TokenError::Call(fault)) if fault.names_no_cause() => {
            unexplained = Some(TokenError::Call(fault));
            None
        }
        other => Some(other),
    });
    selected.unwrap_or_else(|| Err(unexplained.unwrap_or(TokenError::Empty)))
}

fn matching_slot(module: &Module, uri: &Pkcs11Uri) -> Result<(Slot, TokenDescription), TokenError> {
    let all = read_slots(module)?;
    let readable = || {
        all.iter()
            .filter_map(|(slot, token)| Some((*slot, token.as_ref().ok()?)))
    };
    let uris = |tokens: &[(Slot, &TokenDescription)]| {
        let uri = |(_, token): &(Slot, &TokenDescription)| token.uri().to_string();
        tokens.iter().map(uri).collect::<Vec<_>>()
    };
    let matching: Vec<_> = readable()
        .filter(|(_, token)| token.matches(uri, module))
        .collect();
    match matching.as_slice() {
        [(slot, description)] => Ok((*slot, (*description).clone())),
        [] if all.is_empty() => Err(TokenError::Empty),
        [] => {
            // A token that cannot be read may be the one that was searched: its error says more than "no such token".
            if let Some((_, Err(fault))) = all.iter().find(|(_, token)| token.is_err()) {
                return Err(TokenError::Call(fault.clone()));
            }
            Err(TokenError::NoMatch {
                uri: uri.to_string(),
                candidates: uris(&readable().collect::<Vec<_>>()),
            })
        }
        several => Err(TokenError::Ambiguous {
            uri: uri.to_string(),
            candidates: uris(several),
        }),
    }
}
