//! The sections of a configuration and their fields, for error messages about a field that is in the wrong section or has
//! the name of another program's field. A test compares them with those that the parser accepts.

use std::sync::LazyLock;

use super::hub;

/// A section.
pub(super) struct Section {
    /// Its name in a header; empty for the fields above the first header.
    pub(super) name: &'static str,
    /// Whether it is an array of tables, whose header has two brackets on each side.
    pub(super) is_array: bool,
    pub(super) fields: &'static [&'static str],
}

impl Section {
    /// The header as it is written.
    pub(super) fn header(&self) -> String {
        match (self.name, self.is_array) {
            ("", _) => "the top of the file, above the first [section]".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }
}

fn table(name: &'static str, fields: &'static [&'static str]) -> Section {
    let is_array = false;
    Section {
        name,
        is_array,
        fields,
    }
}

fn array(name: &'static str, fields: &'static [&'static str]) -> Section {
    let is_array = true;
    Section {
        name,
        is_array,
        fields,
    }
}

pub(super) static SECTIONS: LazyLock<[Section; 15]> = LazyLock::new(|| {
    [
        table(
            "",
            &[
                "regime",
                "environment",
                "lfi_code",
                "token",
                "c3",
                "sig4",
                "trust",
                "hub",
                "network",
                "tls",
                "ledger",
                "signer",
                "proxy",
                "audit",
            ],
        ),
        array(
            "token",
            &[
                "name",
                "key",
                "certificate",
                "clone",
                "priority",
                "weight",
                "failover_after",
                "module",
                "module_sha256",
                "uri",
                "pin",
                "sessions",
                "timeout",
                "start_timeout",
                "keep_alive",
                "keep_alive_call",
                "profile",
                "env",
                "initialize",
                "login",
                "user",
                "user_name",
                "session",
                "identity",
                "working_dir",
                "state_dir",
            ],
        ),
        table("c3", &["key", "certificate", "subject"]),
        table(
            "c3.subject",
            &[
                "country",
                "organization",
                "organizational_unit",
                "common_name",
                "rdns",
            ],
        ),
        table(
            "sig4",
            &[
                "key",
                "certificate",
                "token",
                "audience",
                "lifetime",
                "scheme",
                "kid",
                "not_before",
                "jwks",
                "max_clock_skew",
                "per_second",
                "burst",
            ],
        ),
        table(
            "trust",
            &[
                "mode",
                "anchors",
                "pins",
                "crls",
                "crl_stale",
                "anchor_urls",
            ],
        ),
        table("hub", &hub::FIELDS),
        table(
            "network",
            &[
                "proxy",
                "proxy_credentials",
                "proxy_anchors",
                "no_proxy",
                "resolve",
                "fetch_proxy",
                "fetch_proxy_credentials",
                "source_address",
            ],
        ),
        table("tls", &["groups", "resumption"]),
        table(
            "ledger",
            &[
                "file",
                "fsync",
                "fsync_interval",
                "rotate_at_mib",
                "head",
                "head_interval",
            ],
        ),
        table("signer", &["per_second", "burst", "landlock", "user"]),
        table(
            "proxy",
            &[
                "listener",
                "operations",
                "access_log",
                "warm_connections",
                "max_connections",
                "max_age",
                "idle_timeout",
                "h2",
                "via",
                "max_requests",
                "max_clients",
                "max_header_kib",
                "max_body_mib",
                "head_timeout",
                "body_timeout",
                "keep_alive",
                "stop_timeout",
                "user",
                "accept_same_user",
                "reload",
                "jwt",
            ],
        ),
        array(
            "proxy.listener",
            &[
                "unix",
                "tcp",
                "systemd",
                "mode",
                "owner",
                "group",
                "callers",
                "upstream",
                "host_names",
            ],
        ),
        table(
            "proxy.operations",
            &[
                "unix",
                "tcp",
                "systemd",
                "mode",
                "owner",
                "group",
                "host_names",
            ],
        ),
        table("audit", &["fips_certificate", "backup", "attestation"]),
    ]
});

/// The sections that have a field of this name.
pub(super) fn sections_with(field: &str) -> Vec<String> {
    let has = |section: &&Section| section.fields.contains(&field);
    SECTIONS.iter().filter(has).map(Section::header).collect()
}

/// The form of a mandatory field, with an example value.
pub(super) fn example(field: &str) -> Option<&'static str> {
    Some(match field {
        "environment" => "environment = \"preprod\", or \"production\"",
        "lfi_code" => {
            "lfi_code = \"mybank\", the LFI's part of the host names that the scheme gave you"
        }
        "token" => "[[token]] with module, uri and pin",
        "module" => {
            "module = \"/usr/lib/softhsm/libsofthsm2.so\", the path of the vendor's PKCS#11 library"
        }
        "uri" => "uri = \"pkcs11:token=NAME\"; `hsm-mtls token list` shows the tokens",
        "pin" => "pin = { file = \"/run/secrets/hsm-pin\" }",
        "c3" => "[c3] with key and certificate",
        "key" => "key = \"pkcs11:object=c3;type=private\"",
        "certificate" => {
            "certificate = \"/etc/hsm-mtls/c3.pem\"; `hsm-mtls cert install` puts it there"
        }
        "audience" => "audience = \"PROVIDER-ID\", as agreed on at onboarding",
        "trust" => "[trust] with mode and anchors",
        "mode" => "mode = \"trust-framework\", or \"public\" or \"both\"",
        "anchors" => "anchors = \"/etc/hsm-mtls/tf-sandbox.pem\", the Trust Framework's bundle",
        "file" => "file = \"/var/log/hsm-mtls/ledger.jsonl\"",
        "fsync" => "fsync = \"interval\", or \"each\"",
        "organization" => {
            "organization = \"My Bank P.J.S.C.\", the legal name exactly as registered"
        }
        "organizational_unit" => {
            "organizational_unit = \"UUID\", the Trust Framework's organisation id"
        }
        "common_name" => "common_name = \"UUID\", the application's client id",
        _ => return None,
    })
}

/// The form of the field that has this name in other programs.
pub(super) fn synonym(field: &str) -> Option<&'static str> {
    Some(match field {
        "url" | "slot" | "slot_id" | "label" | "token_label" | "serial" => {
            "uri = \"pkcs11:token=NAME;serial=NUMBER\""
        }
        "pin_file" | "pinfile" | "pin_source" | "user_pin" | "password" | "passphrase" => {
            "pin = { file = \"/run/secrets/hsm-pin\" }"
        }
        "pin_env" => "pin = { env = \"NAME\" }",
        "library" | "lib" | "provider" | "pkcs11_module" | "module_path" | "path" => {
            "module = \"/the/library.so\""
        }
        "cert" | "crt" | "certificate_file" | "ssl_certificate" => {
            "certificate = \"/etc/hsm-mtls/c3.pem\""
        }
        "private_key" | "key_file" | "ssl_certificate_key" => {
            "key = \"pkcs11:object=c3;type=private\""
        }
        "ca" | "ca_file" | "cafile" | "bundle" | "roots" | "truststore" => {
            "anchors = \"/etc/hsm-mtls/tf-sandbox.pem\""
        }
        "env_name" | "stage" | "profile" => "environment = \"preprod\"",
        "cwd" | "chdir" | "workdir" | "working_directory" => "working_dir = \"/the/folder\"",
        "username" | "login_user" => "user_name = \"NAME\"",
        "socket" | "listen" => "[[proxy.listener]] with unix = \"/run/hsm-mtls/hub.sock\"",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError};

    /// A file with an unknown field in this section.
    fn with_unknown_field(section: &Section) -> String {
        let top = "environment = 'preprod'\nlfi_code = 'a'\n";
        let token = "[[token]]\nmodule = '/m'\nuri = 'pkcs11:token=a'\npin = 'prompt'\n";
        let c3 = "[c3]\nkey = 'pkcs11:object=a'\ncertificate = 'c'\n";
        let trust = "[trust]\nmode = 'public'\nanchors = 'a'\n";
        let field = "no_such_field = 1\n";
        let with_field = |name: &str, lines: &str| match section.name == name {
            true => format!("{lines}{field}"),
            false => lines.to_owned(),
        };
        let mut all = [
            with_field("", top),
            with_field("token", token),
            with_field("c3", c3),
            with_field("trust", trust),
        ]
        .concat();
        if section.name == "sig4" {
            all.push_str("[sig4]\nkey = 'pkcs11:object=b'\ncertificate = 'd'\naudience = 'x'\n");
            all.push_str(field);
        } else if !["", "token", "c3", "trust"].contains(&section.name) {
            all.push_str(&format!("{}\n{field}", section.header()));
        }
        all
    }

    #[test]
    fn sections_have_the_fields_that_the_parser_accepts() {
        for section in SECTIONS.iter() {
            let error =
                Config::parse(&with_unknown_field(section), Path::new("/a.toml")).unwrap_err();
            let ConfigError::Field { message, .. } = error else {
                panic!("{error}");
            };
            let (_, names) = message
                .split_once("expected ")
                .unwrap_or_else(|| panic!("{message}"));
            let names: Vec<_> = names.split('`').skip(1).step_by(2).collect();
            let ours: Vec<_> = section.fields.to_vec();
            assert_eq!(names, ours, "{}", section.header());
        }
    }
}
