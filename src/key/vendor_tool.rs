//! Families whose keys are made another way than by C_GenerateKeyPair with our template, or by another role: what to type
//! instead. All of it is from the vendors' documents and code, tried on no device.

use super::KeyError;
use crate::config::profile::Profile;
use crate::token::fault::{Fault, FaultClass};
use crate::token::{Role, Token};

/// When a family's keys cannot be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Never: it is said before anything is asked of the token.
    Always,
    /// Only the security officer makes keys: said to every other role before anything is asked of the token.
    NotSecurityOfficer,
    /// The token refused, and it is one without a login.
    RefusedWithoutLogin,
    /// The token refused.
    Refused,
}

/// How keys of a family are made.
#[derive(Debug)]
struct VendorTool {
    profile: Profile,
    when: When,
    why: &'static str,
    advice: &'static str,
}

static TOOLS: [VendorTool; 4] = [
    // GoogleCloudPlatform/kms-integrations, kmsp11/docs/user_guide.md: C_GenerateKeyPair takes no public template, and
    // CKA_LABEL and CKA_KMS_ALGORITHM only; one algorithm for each key; CKA_LABEL is the CryptoKey's name. TLS 1.3 signs
    // with PSS.
    VendorTool {
        profile: Profile::GoogleKms,
        when: When::Always,
        why: "keys of Google Cloud HSM are made with the vendor's tool",
        advice: "type `gcloud kms keys create c3 --keyring KEYRING --location LOCATION --purpose asymmetric-signing \
                 --protection-level hsm --default-algorithm rsa-sign-pss-2048-sha256`, and write the key's URI into `key` of [c3]: \
                 object= is its name (from the vendor's documents)",
    },
    // Nitrokey/nethsm-pkcs11, pkcs11/src/backend/key.rs: UserMode::Administrator.
    VendorTool {
        profile: Profile::Nethsm,
        when: When::NotSecurityOfficer,
        why: "only the administrator of a NetHSM makes keys, who is the security officer (CKU_SO) of its PKCS#11 module",
        advice: "pass `--user-type so`, and `--pin-source` with the administrator's passphrase (from the vendor's code)",
    },
    // nShield Security World 13.6, "PKCS#11 without load-sharing or HSM Pool modes": no private objects, CKF_LOGIN_REQUIRED
    // not set.
    VendorTool {
        profile: Profile::Nshield,
        when: When::RefusedWithoutLogin,
        why: "this token has no login: it is an nShield's accelerator slot, which holds no private keys",
        advice: "name the token of the card slot or of a softcard in `uri` of [[token]] (a softcard needs CKNFAST_LOADSHARING=1 in `env`), \
                 or type `generatekey pkcs11 protect=token type=RSA size=2048 plainname=c3`, and write the key's URI into `key` of [c3] \
                 (from the vendor's documents)",
    },
    // Microsoft, "Azure Managed HSM TLS Offload Library": keys are made through the library, with the tool that comes with it.
    VendorTool {
        profile: Profile::AzureManagedHsm,
        when: When::Refused,
        why: "keys of Azure Managed HSM are made with the tool of its TLS offload library",
        advice: "type `mhsm_p11_create_key --RSA 2K --label c3`, and write the key's URI into `key` of [c3] (from the vendor's documents)",
    },
];

impl VendorTool {
    fn error(&self) -> KeyError {
        KeyError::VendorTool {
            why: self.why,
            advice: self.advice,
        }
    }
}

/// Refuses what the token's family never makes here, before anything is asked of the token.
pub(super) fn refuse_in_vain(token: &Token, role: Role) -> Result<(), KeyError> {
    let in_vain = |tool: &&VendorTool| {
        tool.profile == token.profile()
            && match tool.when {
                When::Always => true,
                When::NotSecurityOfficer => role != Role::SecurityOfficer,
                When::RefusedWithoutLogin | When::Refused => false,
            }
    };
    match TOOLS.iter().find(in_vain) {
        Some(tool) => Err(tool.error()),
        None => Ok(()),
    }
}

/// The error for a token that made no key: how it is made, where the family is known for that; where C_GenerateKeyPair is
/// not there at all, that it is the vendor's tool.
pub(super) fn explain(token: &Token, algorithm: &str, error: KeyError) -> KeyError {
    let unsupported = matches!(&error, KeyError::Call(fault) if fault.is_function_not_supported());
    let refused = match &error {
        KeyError::CannotGenerate(_) => true,
        KeyError::Call(fault) => is_refusal(fault),
        _ => false,
    };
    let fits = |tool: &&VendorTool| {
        tool.profile == token.profile()
            && match tool.when {
                When::RefusedWithoutLogin => refused && !token.description().login_required,
                When::Refused => refused,
                When::Always | When::NotSecurityOfficer => false,
            }
    };
    match TOOLS.iter().find(fits) {
        Some(tool) => tool.error(),
        None if unsupported => KeyError::CannotGenerate(algorithm.to_owned()),
        None => error,
    }
}

fn is_refusal(fault: &Fault) -> bool {
    matches!(
        fault.class(),
        FaultClass::Refused | FaultClass::Mechanism | FaultClass::Login
    ) || fault.names_no_cause()
}
