//! What a report says of token and certificate beside the judgements: names and values, as they are told.

use super::report::Facts;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::token::Token;

/// What module and token say of themselves.
pub(super) fn of_token(token: &Token) -> Facts {
    let device = token.device_info();
    let description = token.description();
    let yes_or_no = |is_set: bool| if is_set { "yes" } else { "no" }.to_owned();
    let rows = [
        ("token", device.token),
        ("firmware", device.firmware),
        ("module", device.module),
        (
            "SHA-256 of the module",
            device.module_fingerprint.unwrap_or_default(),
        ),
        ("library", device.library),
        ("PKCS#11", device.cryptoki),
        ("device (CKF_HW_SLOT)", yes_or_no(description.hardware_slot)),
        ("login wanted", yes_or_no(description.login_required)),
    ];
    facts("Token and module, as they say", rows)
}

/// Names, dates and thumbprint of a certificate.
pub(super) fn of_certificate(leaf: &Certificate) -> Facts {
    let rows = [
        ("subject", leaf.subject().to_string()),
        ("issuer", leaf.issuer().to_string()),
        ("x5t#S256", leaf.x5t_s256()),
        ("not before", leaf.not_before()),
        ("not after", leaf.not_after()),
    ];
    facts("The certificate", rows)
}

fn facts<const N: usize>(about: &str, rows: [(&str, String); N]) -> Facts {
    Facts {
        about: about.to_owned(),
        rows: rows.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}
