//! Examples of the errors of the configuration.

use super::*;

pub(super) fn configuration() -> Vec<Example> {
    let mut all = every_variant!(ConfigError {
        Unreadable: [ConfigError::Unreadable {
            path: "/etc/bank.toml".into(),
            why: text("there is no such file"),
            advice: text("check the path"),
        }],
        Unnamed: [ConfigError::Unnamed],
        EmptyName: [
            ConfigError::EmptyName { variable: true },
            ConfigError::EmptyName { variable: false },
        ],
        NotToml: [ConfigError::NotToml {
            path: "/etc/bank.toml".into(),
            format: "JSON",
            advice: text("name the TOML file"),
        }],
        InLogFolder: [ConfigError::InLogFolder {
            path: "/etc/bank.toml".into(),
            role: text("the ledger"),
            named: "/var/log/bank/ledger.jsonl".into(),
            folder: "/var/log/bank".into(),
        }],
        Exposed: [ConfigError::Exposed {
            path: "/etc/bank.toml".into(),
            why: text(
                "`anchors` of [trust]: /etc/anchors.pem (root:root, mode 0666): everybody may write to it"
            ),
            advice: text("`chmod go-w /etc/anchors.pem`"),
        }],
        User: [ConfigError::User {
            path: "/etc/bank.toml".into(),
            field: "`user` of [signer]",
            name: text("hsm-mtls"),
            why: text("/etc/passwd does not list it"),
            advice: text("make it (`adduser --system --group hsm-mtls`), or name another"),
        }],
        NoAccess: [ConfigError::NoAccess {
            path: "/etc/bank.toml".into(),
            why: text(
                "`anchors` of [trust]: /etc/anchors.pem (root:root, mode 0600) cannot be read by user hsm-mtls"
            ),
            advice: text("`chmod o+r /etc/anchors.pem`"),
        }],
        SameUser: [ConfigError::SameUser {
            path: "/etc/bank.toml".into(),
            user: text("bank"),
            owned: text("the PIN file (/etc/pin)"),
            advice: text("`sudo chown root:bank /etc/pin && sudo chmod 640 /etc/pin`"),
        }],
        StaysRoot: [ConfigError::StaysRoot {
            path: "/etc/bank.toml".into(),
            processes: text("the signer, which has the module and the PIN,"),
            missing: text("`user` of [signer]"),
        }],
        Field: [ConfigError::Field {
            path: "/etc/bank.toml".into(),
            line: 7,
            field: text("uri"),
            message: text("slots renumber"),
            advice: None,
        }],
    });
    all.extend(every_variant!(UriError {
        Scheme: [UriError::Scheme],
        NotAPair: [UriError::NotAPair],
        Unknown: [UriError::Unknown(text("tokn"))],
        Capitals: [UriError::Capitals("token")],
        Twice: [UriError::Twice(text("token"))],
        PinValue: [UriError::PinValue],
        Query: [UriError::Query(text("pin-source"))],
        Encoding: [UriError::Encoding(text("object"))],
        Value: [UriError::Value {
            name: text("slot-id"),
            expected: "a decimal number"
        }],
    }));
    all
}
