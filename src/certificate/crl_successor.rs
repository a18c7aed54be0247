//! Judges a CRL that was fetched, before it takes the place of the one that is there: whoever answers for the CRL's server may
//! keep newer lists away, but can neither make one nor bring back an older one.

mod error;

use std::time::{Duration, SystemTime};

use der::{Header, SliceReader};

use super::anchors::Anchors;
use super::crl::RevocationList;
use super::{Certificate, SignatureError, pem};
use crate::rfc3339;
pub use error::{CrlError, NotACrl};

/// By how much the clock of the list's issuer may be ahead of this machine's.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What a fetched list is beside the one that is there.
#[derive(Debug)]
pub enum Successor {
    /// It is newer, or the first.
    Newer(Box<RevocationList>),
    /// It is the one that is there.
    Same(Box<RevocationList>),
}

/// Judges the list in `content`. `held` is the list in the configured file, if there is one that can be read.
///
/// # Errors
/// It is no list, not one of a CA of the bundle, out of its time, of a part only, or older than the one that is there.
pub fn judge(
    content: Vec<u8>,
    held: Option<&RevocationList>,
    anchors: &Anchors,
    now: SystemTime,
) -> Result<Successor, CrlError> {
    let list = parse(content)?;
    check_issuer(&list, anchors)?;
    if list.is_delta() {
        return Err(CrlError::Delta);
    }
    let this_update = list.this_update_time();
    if this_update > now + MAX_CLOCK_SKEW {
        return Err(CrlError::NotYetValid {
            this_update: list.this_update(),
            now: rfc3339::now(),
        });
    }
    let next_update = list.next_update().ok_or(CrlError::NoNextUpdate)?;
    if list.is_outdated(now) {
        return Err(CrlError::Outdated {
            next_update,
            now: rfc3339::now(),
        });
    }
    let Some(held) = held else {
        return Ok(Successor::Newer(Box::new(list)));
    };
    // Otherwise whoever answers could take the list of one CA away by giving that of another.
    if held.issuer() != list.issuer() {
        return Err(CrlError::OtherThanHeld {
            fetched: list.issuer().to_string(),
            held: held.issuer().to_string(),
        });
    }
    if held.scope() != list.scope() {
        return Err(CrlError::OtherScope(list.issuer().to_string()));
    }
    if held.der() == list.der() {
        return Ok(Successor::Same(Box::new(list)));
    }
    let counts_back = match (list.number(), held.number()) {
        (Some(new), Some(old)) => (new.len(), &new) < (old.len(), &old),
        _ => false,
    };
    if this_update < held.this_update_time() || counts_back {
        return Err(CrlError::Older {
            fetched: list.this_update(),
            held: held.this_update(),
        });
    }
    Ok(Successor::Newer(Box::new(list)))
}

/// The one list in the content.
fn parse(content: Vec<u8>) -> Result<RevocationList, CrlError> {
    let start = content.trim_ascii_start();
    let not_a_crl = match start.first() {
        None => Some(NotACrl::Empty),
        Some(b'<') => Some(NotACrl::Html),
        Some(b'{') => Some(NotACrl::Json),
        Some(0x30) => missing_bytes(&content).map(NotACrl::Truncated),
        _ => None,
    };
    if let Some(what) = not_a_crl {
        return Err(CrlError::NotACrl(what));
    }
    let is_cut_pem = pem::blocks(&content)
        .iter()
        .any(|block| block.der().is_err());
    let lists = RevocationList::read_bytes(content);
    let mut lists = lists.map_err(|error| {
        CrlError::NotACrl(match is_cut_pem {
            true => NotACrl::TruncatedPem,
            false => NotACrl::Other(error.to_string()),
        })
    })?;
    match (lists.len(), lists.pop()) {
        (1, Some(list)) => Ok(list),
        (count, _) => Err(CrlError::Several(count)),
    }
}

/// How many bytes of a DER element are missing, by its own length. `None` if it is whole, or no DER.
fn missing_bytes(der: &[u8]) -> Option<u64> {
    use der::{Decode as _, Reader as _};
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let whole = u64::from(u32::from(reader.position())) + u64::from(u32::from(header.length()));
    whole
        .checked_sub(der.len() as u64)
        .filter(|missing| *missing > 0)
}

/// Checks that a CA of the bundle signed the list and may sign lists. A CA that is not a root has to be issued by one.
fn check_issuer(list: &RevocationList, anchors: &Anchors) -> Result<(), CrlError> {
    let all = || anchors.intermediates().iter().chain(anchors.roots());
    // After a rollover two CAs have the same name: the signature decides.
    let named: Vec<&Certificate> = all().filter(|ca| list.names_as_issuer(ca)).collect();
    if named.is_empty() {
        return Err(CrlError::OtherIssuer {
            issuer: list.issuer().to_string(),
            anchors: all().map(|ca| ca.subject().to_string()).collect(),
        });
    }
    let mut fault = SignatureError::Mismatch;
    for ca in named {
        match list.check_signature(ca) {
            Ok(()) if !ca.may_sign_crls() => {
                return Err(CrlError::IssuerMayNot(ca.subject().to_string()));
            }
            Ok(()) if !ca.is_self_issued() && anchors.issuer_of(ca).is_none() => {
                return Err(CrlError::UnprovedIssuer(ca.subject().to_string()));
            }
            Ok(()) => return Ok(()),
            Err(error) if error != SignatureError::Mismatch => fault = error,
            Err(_) => {}
        }
    }
    Err(CrlError::Signature {
        issuer: list.issuer().to_string(),
        fault,
    })
}
