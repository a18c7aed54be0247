//! The policy of the Sig4 key: which tokens the signer signs. A front end that was taken over must not get a token for another
//! audience, in another name, or for later: the signer reads what it is sent, and compares it with its own configuration,
//! certificates and clock.

use crate::identity::SIG4_SCHEME;
use crate::jwt_claims::{self, ClaimSet, Header, ParseError};
use crate::key::scheme::Scheme;
use crate::uuid_format::is_uuid_v4;

/// By how many seconds `iat` may be ahead of the signer's clock. Both processes read the same one: this is for a clock that is set
/// meanwhile. A token of the past only ends the sooner, and a request may have waited for the HSM: it is signed until it has ended.
const MAX_AHEAD: u64 = 5;

/// Why a token is not signed. The messages name no value of the token: it was not signed, and the ledger keeps them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwtRefusal {
    #[error("a token is signed by PS256, and not by {0}")]
    Scheme(Scheme),
    #[error("the message is no token of JWT Auth: {0}")]
    Form(#[from] ParseError),
    #[error("the header of the token is not the scheme's: {0}")]
    Header(&'static str),
    #[error("the token's {0} is not the configured one")]
    Claim(&'static str),
    #[error("the token's {0} is not what follows from the configuration")]
    Time(&'static str),
    #[error("the token was issued at another time than now: {0} s ahead of the signer's clock")]
    IssuedAhead(u64),
    #[error("the token has ended: its request waited for longer than it lives")]
    Ended,
    #[error("the jti of the token is no UUIDv4")]
    Id,
    #[error("the token has claims beside those of JWT Auth")]
    FurtherClaims,
}

/// What the tokens of this configuration look like.
#[derive(Debug)]
pub(super) struct JwtPolicy {
    claim_set: ClaimSet,
}

impl JwtPolicy {
    pub(super) fn new(claim_set: ClaimSet) -> Self {
        Self { claim_set }
    }

    /// Checks a signing input at this time (seconds after the Unix epoch).
    pub(super) fn check(
        &self,
        signing_input: &[u8],
        scheme: Scheme,
        now: u64,
    ) -> Result<(), JwtRefusal> {
        if scheme != SIG4_SCHEME {
            return Err(JwtRefusal::Scheme(scheme));
        }
        let expected = &self.claim_set;
        let (header, claims) = jwt_claims::parse(signing_input)?;
        let Header { alg, typ, cty, kid } = &header;
        let of_scheme = Header::new(&expected.kid);
        let wrong_field = [
            ("alg", alg, &of_scheme.alg),
            ("typ", typ, &of_scheme.typ),
            ("cty", cty, &of_scheme.cty),
            ("kid", kid, &of_scheme.kid),
        ];
        if let Some((name, ..)) = wrong_field.into_iter().find(|(_, is, want)| is != want) {
            return Err(JwtRefusal::Header(name));
        }
        let wrong_claim = [
            ("iss", &claims.iss, &expected.issuer),
            ("sub", &claims.sub, &expected.subject),
            ("aud", &claims.aud, &expected.audience),
        ];
        if let Some((name, ..)) = wrong_claim.into_iter().find(|(_, is, want)| is != want) {
            return Err(JwtRefusal::Claim(name));
        }
        let ahead = claims.iat.saturating_sub(now);
        if ahead > MAX_AHEAD {
            return Err(JwtRefusal::IssuedAhead(ahead));
        }
        let lifetime = claims.exp.checked_sub(claims.iat);
        if lifetime.is_none_or(|seconds| !(1..=expected.lifetime.as_secs()).contains(&seconds)) {
            return Err(JwtRefusal::Time("exp"));
        }
        if claims.nbf != expected.not_before.then_some(claims.iat) {
            return Err(JwtRefusal::Time("nbf"));
        }
        if claims.exp <= now {
            return Err(JwtRefusal::Ended);
        }
        if !is_uuid_v4(claims.jti.as_bytes()) {
            return Err(JwtRefusal::Id);
        }
        match claims.further.is_empty() {
            true => Ok(()),
            false => Err(JwtRefusal::FurtherClaims),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jwt_claims::{Claims, signing_input};

    const NOW: u64 = 1_800_000_000;

    fn policy(not_before: bool) -> JwtPolicy {
        JwtPolicy::new(ClaimSet {
            issuer: "A Bank".to_owned(),
            subject: "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10".to_owned(),
            audience: "provider".to_owned(),
            kid: "the-kid".to_owned(),
            lifetime: Duration::from_secs(20),
            not_before,
        })
    }

    fn refused(
        policy: &JwtPolicy,
        change: impl FnOnce(&mut Header, &mut Claims),
    ) -> Option<JwtRefusal> {
        let mut header = Header::new(&policy.claim_set.kid);
        let mut claims = policy.claim_set.claims(NOW).unwrap();
        change(&mut header, &mut claims);
        let input = signing_input(&header, &claims);
        policy.check(input.as_bytes(), SIG4_SCHEME, NOW).err()
    }

    #[test]
    fn a_token_of_the_configuration_is_signed_and_each_deviation_is_refused() {
        use JwtRefusal::{Claim, Ended, FurtherClaims, Header, Id, IssuedAhead, Time};
        let policy = policy(false);
        assert_eq!(refused(&policy, |_, _| {}), None);
        assert_eq!(refused(&policy, |_, claims| claims.exp -= 5), None);
        assert_eq!(
            refused(&policy, |_, claims| {
                claims.iat += 5;
                claims.exp += 5;
            }),
            None
        );
        let text = |text: &str| text.to_owned();
        for (refusal, expected) in [
            (
                refused(&policy, |header, _| header.alg = text("RS256")),
                Header("alg"),
            ),
            (
                refused(&policy, |header, _| header.alg = text("none")),
                Header("alg"),
            ),
            (
                refused(&policy, |header, _| header.typ = text("JWT")),
                Header("typ"),
            ),
            (
                refused(&policy, |header, _| header.cty = text("text")),
                Header("cty"),
            ),
            (
                refused(&policy, |header, _| header.kid = text("another")),
                Header("kid"),
            ),
            (
                refused(&policy, |_, claims| claims.iss = text("Another")),
                Claim("iss"),
            ),
            (
                refused(&policy, |_, claims| claims.sub.clear()),
                Claim("sub"),
            ),
            (
                refused(&policy, |_, claims| claims.aud = text("other")),
                Claim("aud"),
            ),
            (refused(&policy, |_, claims| claims.exp += 1), Time("exp")),
            (
                refused(&policy, |_, claims| claims.exp = claims.iat),
                Time("exp"),
            ),
            (refused(&policy, |_, claims| claims.exp = 0), Time("exp")),
            (
                refused(&policy, |_, claims| claims.exp = u64::MAX),
                Time("exp"),
            ),
            (
                refused(&policy, |_, claims| claims.nbf = Some(NOW)),
                Time("nbf"),
            ),
            (
                refused(&policy, |_, claims| {
                    claims.iat -= 20;
                    claims.exp -= 20;
                }),
                Ended,
            ),
            (
                refused(&policy, |_, claims| claims.iat += 3600),
                IssuedAhead(3600),
            ),
            (refused(&policy, |_, claims| claims.jti = text("1")), Id),
            (
                refused(&policy, |_, claims| {
                    claims.further.insert(text("scope"), true.into());
                }),
                FurtherClaims,
            ),
        ] {
            assert_eq!(refusal, Some(expected));
        }
    }

    #[test]
    fn nbf_is_signed_where_it_is_configured_only() {
        let policy = policy(true);
        assert_eq!(refused(&policy, |_, _| {}), None);
        for nbf in [None, Some(NOW + 1), Some(NOW - 1)] {
            let refusal = refused(&policy, |_, claims| claims.nbf = nbf);
            assert_eq!(refusal, Some(JwtRefusal::Time("nbf")));
        }
    }

    #[test]
    fn what_is_no_token_and_another_scheme_are_refused() {
        let policy = policy(false);
        let claims = policy.claim_set.claims(NOW).unwrap();
        let input = signing_input(&Header::new("the-kid"), &claims);
        for scheme in Scheme::ALL {
            let checked = policy.check(input.as_bytes(), scheme, NOW);
            assert_eq!(checked.is_ok(), scheme == SIG4_SCHEME, "{scheme}");
        }
        for message in ["", "hsm-mtls proof of possession", &input[..20]] {
            let checked = policy.check(message.as_bytes(), SIG4_SCHEME, NOW);
            assert!(matches!(checked, Err(JwtRefusal::Form(_))), "{message}");
        }
    }
}
