//! The advice for a missing field: how it is written.

/// The mandatory fields, and how each is written.
const EXAMPLES: [(&str, &str); 16] = [
    (
        "environment",
        "environment = \"preprod\" (or \"production\"), above the first section",
    ),
    (
        "lfi_code",
        "lfi_code = \"mybank\", above the first section: the LFI's code within the hub's host names",
    ),
    (
        "token",
        "a section [[token]] with `module`, `uri` and `pin`",
    ),
    ("c3", "a section [c3] with `key` and `certificate`"),
    ("trust", "a section [trust] with `mode` and `anchors`"),
    (
        "module",
        "module = \"/usr/lib/softhsm/libsofthsm2.so\": the vendor's PKCS#11 library",
    ),
    (
        "uri",
        "uri = \"pkcs11:token=lfi-preprod\", as `hsm-mtls token list` prints it",
    ),
    (
        "pin",
        "pin = { file = \"/run/secrets/hsm-pin\" }, or another source",
    ),
    (
        "key",
        "key = \"pkcs11:object=c3;type=private\", as `hsm-mtls key list` prints it",
    ),
    ("certificate", "certificate = \"/etc/hsm-mtls/c3.pem\""),
    (
        "mode",
        "mode = \"trust-framework\" (or \"public\", or \"both\")",
    ),
    (
        "anchors",
        "anchors = \"/etc/hsm-mtls/tf-sandbox.pem\": Issuing CA and Root of the Trust Framework",
    ),
    ("file", "file = \"/var/log/hsm-mtls/ledger.jsonl\""),
    (
        "organization",
        "organization = \"My Bank P.J.S.C.\": the legal name exactly as registered",
    ),
    (
        "organizational_unit",
        "organizational_unit = \"the Trust Framework's organisation id\"",
    ),
    (
        "common_name",
        "common_name = \"the application's client id\"",
    ),
];

/// What to write, if serde's message says that a field is missing.
pub(super) fn what_to_write(message: &str) -> Option<String> {
    let field = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))?;
    let known = EXAMPLES.iter().find(|(name, _)| *name == field);
    known.map(|(_, example)| format!("write {example}"))
}
