//! The whole path of an operator on each token that Debian has: SoftHSM, the same behind `p11-kit server`, openCryptoki, a
//! TPM 2.0 and NSS softokn.

use crate::common::bank::Bank;
use crate::common::nss_token::NssToken;
use crate::common::opencryptoki::OpenCryptoki;
use crate::common::remote_token::RemoteToken;
use crate::common::tpm_token::TpmToken;
use crate::common::whole_path::whole_path;

#[test]
fn softhsm_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        whole_path(&mut Bank::new(), "softhsm", key_type);
    }
}

#[test]
fn a_token_behind_p11_kit_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        let mut bank = Bank::new();
        let _server = RemoteToken::of(&mut bank);
        whole_path(&mut bank, "p11-kit", key_type);
    }
}

#[test]
fn opencryptoki_makes_the_key_and_signs() {
    let Some(token) = OpenCryptoki::in_namespaces(opencryptoki_makes_the_key_and_signs) else {
        return;
    };
    let mut bank = Bank::new();
    token.configure(&mut bank);
    whole_path(&mut bank, "opencryptoki", "rsa-2048");
}

#[test]
fn a_tpm_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        let token = TpmToken::new();
        let mut bank = Bank::new();
        token.configure(&mut bank);
        whole_path(&mut bank, "tpm2", key_type);
    }
}

#[test]
fn nss_softokn_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        let token = NssToken::new();
        let mut bank = Bank::new();
        token.configure(&mut bank);
        whole_path(&mut bank, "nss-softokn", key_type);
    }
}
