//! The whole rotation on a TPM 2.0 while a proxy serves. Those on SoftHSM are in `c3` and `sig4`, those on kryoptic in `make interop`.

use crate::common::bank::Bank;
use crate::common::tpm_token::TpmToken;
use crate::common::whole_rotation::{of_c3, of_sig4};

fn bank() -> (TpmToken, Bank) {
    let token = TpmToken::new();
    let mut bank = Bank::new();
    token.configure(&mut bank);
    (token, bank)
}

#[test]
fn c3_on_a_tpm() {
    let (_token, bank) = bank();
    of_c3(bank, "rsa-2048", 50);
}

/// Each request takes a signature, and a TPM makes few of them in a second.
#[test]
fn sig4_on_a_tpm() {
    let (_token, bank) = bank();
    of_sig4(bank, "rsa-2048", 10);
}
