//! The second key of a bank, which signs the tokens of JWT Auth: made in its token, and certified by its Trust Framework.

use rcgen::KeyUsagePurpose;

use super::bank::Bank;

pub const AUDIENCE: &str = "provider-7f3a";

/// The URI of the key.
pub const KEY: &str = "pkcs11:object=sig4;type=private";

/// Makes the key and its certificate (`sig4.pem`, as the Trust Framework issues it: for signatures, and not for TLS clients). The
/// configuration is told nothing of them: see [`section`].
pub fn certify(bank: &mut Bank, key_type: &str) {
    bank.configure(|settings| settings.key = KEY.to_owned());
    bank.run(&["key", "generate", "--type", key_type]).expect(0);
    issue(bank);
    bank.configure(|settings| settings.key = "pkcs11:object=c3;type=private".to_owned());
}

/// Has a new certificate issued for the key of the configured `[sig4]`.
pub fn issue_anew(bank: &Bank) {
    write(bank, &bank.run(&["csr", "--sig4"]).expect(0).stdout);
}

/// Has a certificate issued for the configured key, in the place of the one that is in `sig4.pem`.
pub fn issue(bank: &Bank) {
    write(bank, &bank.csr());
}

fn write(bank: &Bank, csr: &str) {
    let leaf = bank.framework.issue_client_with(csr, |params| {
        params.extended_key_usages.clear();
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
        ];
    });
    bank.write("sig4.pem", &(leaf + &bank.framework.issuing_pem()));
}

/// `[sig4]`, with further lines.
pub fn section(lines: &str) -> String {
    format!(
        "[sig4]\nkey = \"{KEY}\"\ncertificate = \"sig4.pem\"\naudience = \"{AUDIENCE}\"\n{lines}\n"
    )
}
