//! PIN sources: file, environment variable, systemd credential, command, prompt, protected authentication path, an empty PIN
//! and none. The PIN itself never is in the configuration, in argv or in a log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The source of a PIN. After a successful login the PIN is kept in memory for later logins, and the source is not read
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner can read; one line end at its end is removed.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a name below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A program (no shell) whose standard output is the PIN.
    Command(Vec<String>),
    /// The operator at the terminal.
    Prompt,
    /// The protected authentication path of PKCS#11, such as the token's keypad: C_Login is called without a PIN.
    ProtectedPath,
    /// An empty PIN: C_Login is called with a PIN of no length, which is not the same as without one. For tokens that know
    /// their user in another way (Azure Managed HSM with a managed identity).
    Empty,
    /// No PIN is ever sent: C_Login is not called, and a token or key that requires a login is an error.
    None,
}

/// The forms of a PIN source, for error messages.
pub const PIN_SOURCE_FORMS: &str = "{ file = \"/path\" }, { env = \"NAME\" }, { credential = \"name\" }, \
     { command = [\"/program\", \"argument\"] }, \"prompt\", \"protected-path\", \"empty\" or \"none\"";

impl PinSource {
    /// The same source, with a relative file resolved against the folder of the configuration.
    pub(crate) fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            other => other,
        }
    }

    fn from_field(field: &str, values: Vec<String>) -> Result<Self, String> {
        let single = |expected: &str| match <[String; 1]>::try_from(values.clone()) {
            Ok([value]) if !value.is_empty() => Ok(value),
            _ => Err(format!("`{field}` takes {expected}")),
        };
        match field {
            "file" => Ok(Self::File(single("one path")?.into())),
            "env" => {
                let name = single("the name of one variable")?;
                match is_variable_name(&name) {
                    true => Ok(Self::Env(name)),
                    false => Err(variable_name_error(&name)),
                }
            }
            "credential" => {
                let name = single("the name of one credential")?;
                if name.contains('/') || name == "." || name == ".." {
                    return Err(
                        "a credential is a plain name below $CREDENTIALS_DIRECTORY, not a path"
                            .to_owned(),
                    );
                }
                Ok(Self::Credential(name))
            }
            // A bare name would run the first such program in $PATH.
            "command"
                if values
                    .first()
                    .is_some_and(|program| program.starts_with('/')) =>
            {
                Ok(Self::Command(values))
            }
            "command" => {
                Err("`command` takes the absolute path of a program, and its arguments".to_owned())
            }
            _ => Err(source_error()),
        }
    }
}

/// Whether POSIX allows the name of an environment variable (XBD, section 8.1).
fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The error for an invalid name of a variable.
fn variable_name_error(written: &str) -> String {
    let bare = written.strip_prefix('$').unwrap_or(written);
    let bare = bare
        .strip_prefix('{')
        .and_then(|bare| bare.strip_suffix('}'))
        .unwrap_or(bare);
    if written.starts_with('$') && is_variable_name(bare) {
        return "`env` takes the name of a variable without the $ before it".to_owned();
    }
    "`env` takes the name of a variable: letters, digits and _, no digit first (what was written is not \
     shown: it may be a PIN)"
        .to_owned()
}

/// The error for anything that is not a PIN source. It does not contain the value: the likeliest mistake is to write the
/// PIN itself.
fn source_error() -> String {
    format!(
        "not a PIN source (what was written is not shown: it may be a PIN); write one of {PIN_SOURCE_FORMS}"
    )
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
            // The arguments are left out: one of them may be a secret, such as a vault's token.
            Self::Command(words) => {
                write!(f, "command {}", words.first().map_or("", String::as_str))
            }
            Self::Prompt => f.write_str("the prompt"),
            Self::ProtectedPath => f.write_str("the token's protected authentication path"),
            Self::Empty => f.write_str("pin = \"empty\""),
            Self::None => f.write_str("none"),
        }
    }
}

/// Parses the form of the command line: `file:/path`, `env:NAME`, `credential:NAME`, `command:PROGRAM`,
/// `prompt`, `protected-path`, `empty`, `none`.
impl FromStr for PinSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("prompt", _) => Ok(Self::Prompt),
            ("protected-path", _) => Ok(Self::ProtectedPath),
            ("empty", _) => Ok(Self::Empty),
            ("none", _) => Ok(Self::None),
            (_, Some(("command", line))) => Self::from_field(
                "command",
                line.split_whitespace().map(str::to_owned).collect(),
            ),
            (_, Some((field @ ("file" | "env" | "credential"), value))) => {
                let source = Self::from_field(field, vec![value.to_owned()])?;
                // The process may change its working directory before it reads the file.
                Ok(match source {
                    Self::File(path) => {
                        Self::File(std::path::absolute(&path).unwrap_or(path))
                    }
                    other => other,
                })
            }
            _ => Err(
                "not a PIN source (what was written is not shown: it may be a PIN); write file:/path, \
                 env:NAME, credential:NAME, command:PROGRAM, prompt, protected-path, empty or none"
                    .to_owned(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for PinSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = PinSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PIN_SOURCE_FORMS)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<PinSource, E> {
        match word {
            "prompt" => Ok(PinSource::Prompt),
            "protected-path" => Ok(PinSource::ProtectedPath),
            "empty" => Ok(PinSource::Empty),
            "none" => Ok(PinSource::None),
            _ => Err(E::custom(source_error())),
        }
    }

    // serde's default errors contain the value; these do not.
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<PinSource, E> {
        Err(E::custom(source_error()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<PinSource, A::Error> {
        Err(de::Error::custom(source_error()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PinSource, A::Error> {
        let invalid = || de::Error::custom(source_error());
        let (field, value) = map
            .next_entry::<String, OneOrMany>()
            .map_err(|_| invalid())?
            .ok_or_else(invalid)?;
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("one PIN source, not several"));
        }
        let values = match value {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        };
        PinSource::from_field(&field, values).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        pin: PinSource,
    }

    fn parse(text: &str) -> Result<PinSource, String> {
        toml::from_str::<Table>(text)
            .map(|table| table.pin)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn each_source_has_its_form() {
        assert_eq!(
            parse("pin = { file = '/run/pin' }"),
            Ok(PinSource::File("/run/pin".into()))
        );
        assert_eq!(
            parse("pin = { command = ['/bin/vault', 'read'] }"),
            Ok(PinSource::Command(vec![
                "/bin/vault".to_owned(),
                "read".to_owned()
            ]))
        );
        assert_eq!(parse("pin = 'prompt'"), Ok(PinSource::Prompt));
        assert_eq!(parse("pin = 'none'"), Ok(PinSource::None));
        assert_eq!("empty".parse(), Ok(PinSource::Empty));
        assert_eq!("env:PIN".parse(), Ok(PinSource::Env("PIN".to_owned())));
    }

    #[test]
    fn a_pin_written_in_place_of_a_source_is_not_repeated() {
        for text in [
            "pin = '874512'",
            "pin = 874512",
            "pin = 99999999999999999999874512",
            "pin = 8.74512e5",
            "pin = [874512]",
            "pin = { value = '874512' }",
            "pin = { 874512 = 'x' }",
            "pin = { file = ['874512', 'y'] }",
            "pin = { credential = '../874512' }",
            "pin = { env = '874512' }",
            "pin = { env = '$874512' }",
        ] {
            let message = parse(text).expect_err(text);
            assert!(!message.contains("874512"), "{message}");
        }
        assert!(
            !"874512"
                .parse::<PinSource>()
                .unwrap_err()
                .contains("874512")
        );
    }
}
