//! The way of the Sig4 key by the commands: made with `--sig4`, certified by the bank's Trust Framework, and installed.

use super::bank::Bank;
use super::sig4::section;
use super::trust_framework::TrustFramework;

/// A second `[[token]]` with this label, in the same module and with the same PIN, and `[sig4]` with its key there.
pub fn section_on_token(bank: &Bank, label: &str) -> String {
    format!(
        "[[token]]\nname = \"signing\"\nmodule = \"{}\"\nuri = \"pkcs11:token={label}\"\npin = {{ file = \"{}\" }}\n\
         state_dir = \"state\"\n\n{}",
        bank.module().display(),
        bank.token.pin_file().display(),
        section("token = \"signing\"")
    )
}

/// A Sig4 certificate as the scheme issues it: for signatures, and not for clients.
pub fn issued(framework: &TrustFramework, csr_pem: &str) -> String {
    framework.issue_client_with(csr_pem, |params| params.extended_key_usages.clear())
}

/// Makes the Sig4 key in the token, has it certified and installs the certificate.
pub fn onboard(bank: &Bank) {
    bank.run(&["key", "generate", "--sig4"]).expect(0);
    let csr = bank.run(&["csr", "--sig4"]).expect(0).stdout;
    let leaf = bank.write("sig4-issued.pem", &issued(&bank.framework, &csr));
    let leaf = leaf.to_str().expect("a plain path");
    bank.run(&["cert", "install", "--sig4", leaf]).expect(0);
}
