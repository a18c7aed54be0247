//! Why a token has no key of a type, or a server does not take it: what was looked into and is no fault of the product.
//! A failure that is not in this list fails the run; so does an entry that no failure fits any more.

use crate::key_trial::{Failure, TokenTrial};

pub struct KnownLimit {
    /// Token and key type, version and server, as far as it is the same for all of them.
    place: &'static str,
    /// What the command has to say.
    says: &'static str,
    pub reason: &'static str,
}

/// OpenSSL's own client is refused so too: `openssl s_client -tls1_2 -groups P-256` with such a certificate.
const CURVE_NOT_LISTED: &str = "With TLS 1.2 OpenSSL takes the certificate of a P-521 key only from a client that lists \
                                secp521r1 among its groups (`wrong curve`; it treats its own client so). rustls lists the \
                                groups of its key exchanges, and has none with that curve. TLS 1.3 has no such tie.";

pub const KNOWN_LIMITS: [KnownLimit; 10] = [
    KnownLimit {
        place: "p-521 TLS 1.2 nginx",
        says: "TLS alert illegal_parameter",
        reason: CURVE_NOT_LISTED,
    },
    KnownLimit {
        place: "p-521 TLS 1.2 openssl s_server",
        says: "TLS alert illegal_parameter",
        reason: CURVE_NOT_LISTED,
    },
    KnownLimit {
        place: "p11-kit remote ed25519",
        says: "does not generate Ed25519 key pairs",
        reason: "p11-kit 0.24 does not carry the mechanisms of Edwards curves: SoftHSM lists them, p11-kit-client.so does not.",
    },
    KnownLimit {
        place: "kryoptic ed25519",
        says: "does not generate Ed25519 key pairs",
        reason: "kryoptic has Ed25519 with OpenSSL 3.2 and later; Debian 12 has 3.0.",
    },
    KnownLimit {
        place: "openCryptoki p-",
        says: "does not generate P-",
        reason: "openCryptoki's soft token of Debian 12 has no elliptic curves: C_GetMechanismList has RSA only.",
    },
    KnownLimit {
        place: "openCryptoki ed25519",
        says: "does not generate Ed25519 key pairs",
        reason: "openCryptoki's soft token of Debian 12 has no elliptic curves: C_GetMechanismList has RSA only.",
    },
    KnownLimit {
        place: "TPM 2.0 rsa-4096",
        says: "C_GenerateKeyPair returned CKR_ATTRIBUTE_VALUE_INVALID",
        reason: "This TPM has RSA of up to 3072 bits (libtpms 0.9; `tpm2_testparms rsa4096` refuses).",
    },
    KnownLimit {
        place: "TPM 2.0 p-521",
        says: "CKA_EC_POINT that is no uncompressed point",
        reason: "tpm2-pkcs11 1.9 encodes the point of a P-521 key wrongly (a DER length of 133 in one byte). It cannot read it \
                 either: its C_SignInit returns CKR_HOST_MEMORY.",
    },
    KnownLimit {
        place: "TPM 2.0 ed25519",
        says: "does not generate Ed25519 key pairs",
        reason: "This TPM has no Edwards curves.",
    },
    KnownLimit {
        place: "NSS softokn ed25519",
        says: "does not generate Ed25519 key pairs",
        reason: "NSS softokn 3.87 has no Ed25519 keys.",
    },
];

impl KnownLimit {
    fn fits(&self, place: &str, failure: &Failure) -> bool {
        place.contains(self.place) && failure.error.contains(self.says)
    }
}

/// Puts to each failure why it is none.
pub fn explain(trials: &mut [TokenTrial]) {
    for trial in trials {
        let found: Vec<_> = trial
            .failures()
            .map(|(place, failure)| {
                let mut limits = KNOWN_LIMITS.iter();
                limits.position(|limit| limit.fits(&place, failure))
            })
            .collect();
        let failures = trial.failures_mut();
        for (failure, limit) in failures.zip(found) {
            failure.limit = limit;
        }
    }
}

/// What is not in the list.
pub fn unexplained(trials: &[TokenTrial]) -> Vec<String> {
    let failures = trials.iter().flat_map(TokenTrial::failures);
    failures
        .filter(|(_, failure)| failure.limit.is_none())
        .map(|(place, failure)| format!("{place}: {}", failure.error))
        .collect()
}

/// What of the list was not met.
pub fn stale(trials: &[TokenTrial]) -> Vec<String> {
    let failures = trials.iter().flat_map(TokenTrial::failures);
    let met: Vec<_> = failures.filter_map(|(_, failure)| failure.limit).collect();
    let stale = KNOWN_LIMITS.iter().enumerate();
    stale
        .filter(|(index, _)| !met.contains(index))
        .map(|(_, limit)| format!("{}: {}", limit.place, limit.reason))
        .collect()
}
