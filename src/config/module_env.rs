//! `env` of `[[token]]`: environment variables for the vendor's module. Checks their names, and that the paths in them do
//! not depend on the working directory.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Variables from which vendors' modules take the path of their configuration, store or socket.
pub(crate) const PATH_VARIABLES: [&str; 16] = [
    "SOFTHSM2_CONF",
    "ChrystokiConfigurationPath",
    "CS_PKCS11_R3_CFG",
    "CS_PKCS11_R2_CFG",
    "NFAST_HOME",
    "NFAST_KMDATA",
    "CKNFAST_LOADSHARING_CONF",
    "KMS_PKCS11_CONFIG",
    "YUBIHSM_PKCS11_CONF",
    "P11NETHSM_CONFIG_FILE",
    "TPM2_PKCS11_STORE",
    "KRYOPTIC_CONF",
    "AWS_KMS_PKCS11_CONF",
    "OPENSC_CONF",
    "GREP11CLIENT_CONFIG",
    "FORTANIX_PKCS11_CONFIG_PATH",
];

/// Deserialises `env`. Errors do not contain the value: some modules take a password from a variable.
pub(super) fn variables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let wrong = |_| serde::de::Error::custom("`env` takes NAME = \"text\" only");
    let variables = BTreeMap::<String, String>::deserialize(deserializer).map_err(wrong)?;
    let is_allowed = |name: &String| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with("LD_")
            && !name.starts_with("HSM_MTLS_")
    };
    let valid =
        variables.keys().all(is_allowed) && variables.values().all(|value| !value.contains('\0'));
    if valid {
        Ok(variables)
    } else {
        Err(serde::de::Error::custom(
            "a name in `env` is made of letters, digits and `_`; LD_* and HSM_MTLS_* are not the module's",
        ))
    }
}

/// What is wrong with a value that should be an absolute path, and what to write. `{config_dir}` is already replaced.
pub(super) fn invalid_path(name: &str, value: &str) -> Option<(String, String)> {
    let takes_path = PATH_VARIABLES.contains(&name);
    let write = || {
        "write the absolute path; {config_dir} at its start stands for the folder of this file"
            .to_owned()
    };
    if takes_path && value.trim().is_empty() {
        return Some((format!("{name} is empty"), write()));
    }
    if value.starts_with('~') && (takes_path || value.starts_with("~/")) {
        return Some((
            format!("{name} begins with ~, which nobody replaces here"),
            write(),
        ));
    }
    let first_part = value.split_once('/').map_or(value, |(first, _)| first);
    if (takes_path || value.contains('/')) && first_part.starts_with('$') {
        return Some((
            format!("{name} begins with a variable, and none is replaced here"),
            write(),
        ));
    }
    if (takes_path || value.contains('/')) && first_part.starts_with('{') {
        return Some((
            format!("{name} begins with a name in braces that is not {{config_dir}}"),
            write(),
        ));
    }
    let extensions = [
        ".conf", ".cfg", ".config", ".ini", ".json", ".yaml", ".yml", ".toml",
    ];
    let is_path = value.starts_with("./")
        || value.starts_with("../")
        || (value.contains('/')
            && !value.contains("://")
            && extensions.iter().any(|end| value.ends_with(end)));
    let relative = !value.starts_with('/') && !value.contains("://") && (takes_path || is_path);
    relative.then(|| {
        (
            format!("{name} is a relative path, which the module takes from the folder that the command is started in"),
            write(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_depends_on_the_working_directory_is_refused() {
        for (name, value, expected) in [
            ("SOFTHSM2_CONF", "softhsm2.conf", "relative path"),
            ("SOFTHSM2_CONF", "softhsm/softhsm2.conf", "relative path"),
            ("CHRYSTOKI", "./Chrystoki.conf", "relative path"),
            ("ANY", "../x", "relative path"),
            ("ANY", "conf/p11.yaml", "relative path"),
            ("SOFTHSM2_CONF", "~/softhsm2.conf", "begins with ~"),
            ("SOFTHSM2_CONF", "$HOME/softhsm2.conf", "a variable"),
            ("ANY", "${HOME}/softhsm2.conf", "a variable"),
            ("SOFTHSM2_CONF", "{config-dir}/softhsm2.conf", "braces"),
            ("SOFTHSM2_CONF", "", "is empty"),
        ] {
            let (message, _) =
                invalid_path(name, value).unwrap_or_else(|| panic!("{name}={value}"));
            assert!(message.contains(expected), "{message}");
        }
        for (name, value) in [
            ("SOFTHSM2_CONF", "/etc/softhsm2.conf"),
            ("YUBIHSM_CONNECTOR", "http://127.0.0.1:12345/a.conf"),
            ("PASSWORD", "a/b$c~d"),
            ("LEVEL", "debug"),
            ("EMPTY", ""),
            ("NO", "n/a"),
        ] {
            assert_eq!(invalid_path(name, value), None, "{name}");
        }
    }
}
