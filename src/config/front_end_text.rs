//! The configuration that the proxy's front end is given: what it needs, and nothing of token, PIN, programs, records and
//! audit. It parses the network; whoever takes it over must not find in it what leads to the PIN.

use std::path::Path;

use toml::{Table, Value};

use super::error::ConfigError;
use super::field_error::field_error;
use super::network::credentials::credential_path;

/// The sections that a front end is given as they are.
const WHOLE: [&str; 9] = [
    "regime",
    "environment",
    "lfi_code",
    "sig4",
    "hub",
    "network",
    "tls",
    "trust",
    "proxy",
];
/// The fields of [c3] that it is given: where the certificate is, and the name of the key.
const OF_C3: [&str; 2] = ["key", "certificate"];
/// The fields of [[token]]: how long a signature may take, which of two is [sig4]'s, how several share the connections.
const OF_TOKEN: [&str; 10] = [
    "name",
    "key",
    "certificate",
    "clone",
    "priority",
    "weight",
    "failover_after",
    "sessions",
    "timeout",
    "start_timeout",
];
/// What the parser wants of [[token]], and a front end has no use for.
const STAND_IN: [(&str, &str); 2] = [("module", "/"), ("pin", "none")];

/// The text for a front end, of a configuration that was checked.
///
/// # Errors
/// It is no TOML, or cannot be written as TOML.
pub(super) fn front_end_text(text: &str, path: &Path) -> Result<String, ConfigError> {
    let whole: Table = toml::from_str(text).map_err(|error| field_error(text, path, &error))?;
    let mut given = pick(&whole, &WHOLE);
    if let Some(Value::Table(c3)) = whole.get("c3") {
        given.insert("c3".to_owned(), pick(c3, &OF_C3).into());
    }
    if let Some(Value::Array(tokens)) = whole.get("token") {
        let tokens = tokens.iter().filter_map(Value::as_table);
        let tokens = tokens.enumerate().map(|(number, token)| {
            let mut token = pick(token, &OF_TOKEN);
            // Two are never one.
            let uri = format!("pkcs11:token=none-{number}");
            token.insert("uri".to_owned(), uri.into());
            let stand_in = STAND_IN.map(|(field, value)| (field.to_owned(), value.into()));
            token.extend(stand_in);
            Value::Table(token)
        });
        given.insert("token".to_owned(), Value::Array(tokens.collect()));
    }
    if let Some(Value::Table(network)) = given.get_mut("network") {
        place_credentials(network);
    }
    toml::to_string(&given).map_err(|error| ConfigError::Field {
        path: path.to_owned(),
        line: 0,
        field: String::new(),
        message: format!("the front end's part of it cannot be written down: {error}"),
        advice: None,
    })
}

/// Writes the paths of credentials of systemd's in the place of their names: a front end does not know the folder.
fn place_credentials(network: &mut Table) {
    for field in ["proxy_credentials", "fetch_proxy_credentials"] {
        let Some(Value::Table(source)) = network.get_mut(field) else {
            continue;
        };
        if let Some(Value::String(name)) = source.get_mut("credential")
            && let Some(path) = credential_path(name)
        {
            *name = path;
        }
    }
}

fn pick(table: &Table, fields: &[&str]) -> Table {
    let given = fields.iter().filter_map(|field| {
        let value = table.get(*field)?;
        Some(((*field).to_owned(), value.clone()))
    });
    given.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Config;
    use super::super::schema::SECTIONS;
    use super::*;

    /// A new field is in neither list: whoever adds it decides whether a front end is given it.
    #[test]
    fn each_section_is_given_or_kept() {
        let kept = ["token", "c3", "c3.subject", "ledger", "signer", "audit"];
        for section in SECTIONS.iter() {
            let top = section.name.split('.').next().unwrap_or_default();
            let names = match section.name {
                "" => section.fields,
                _ => &[section.name][..],
            };
            for name in names {
                let given = WHOLE.contains(name) || WHOLE.contains(&top);
                assert_ne!(given, kept.contains(name), "{name}");
            }
        }
        let given = |section: &&super::super::schema::Section| {
            WHOLE.contains(&section.name.split('.').next().unwrap_or_default())
        };
        let fields: Vec<String> = SECTIONS
            .iter()
            .filter(given)
            .flat_map(|section| {
                section
                    .fields
                    .iter()
                    .map(|field| format!("{}.{field}", section.name))
            })
            .collect();
        insta::assert_snapshot!(fields.join("\n"));
    }

    #[test]
    fn a_front_end_reads_of_it_what_the_others_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hsm-config");
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut count = 0;
        for path in files.filter(|path| path.extension().is_some_and(|name| name == "toml")) {
            let text = fs::read_to_string(&path).unwrap();
            let whole = Config::parse(&text, &path).unwrap();
            let given = front_end_text(&text, &path).unwrap();
            assert!(
                !given.contains('#') && !given.contains("state_dir"),
                "{given}"
            );
            let given = Config::parse(&given, &path).unwrap();
            assert_eq!(whole.needs_restart(&given), None, "{}", path.display());
            assert_eq!(whole.trust.anchors, given.trust.anchors);
            assert_eq!(whole.token.timeout, given.token.timeout);
            assert_eq!(whole.token.start_timeout, given.token.start_timeout);
            count += 1;
        }
        assert!(count > 10, "{count}");
    }
}
