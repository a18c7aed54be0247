//! `key` and `certificate` of `[c3]` or `[sig4]`, as a rotation replaces them: in the text of the file, of which all other bytes
//! stay as they are, and in a configuration that was parsed.

use std::ops::Range;
use std::sync::Arc;

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer as _};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use toml::Spanned;

use super::c3::relative_source;
use super::field_error::field_error;
use super::uri::Pkcs11Uri;
use super::{CertificateSource, Config, ConfigError, ConfigText, KeyRole, field};

/// The values of a section, as they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAndCertificate {
    /// `key`, a PKCS#11 URI.
    pub key: String,
    /// `certificate`: a path, maybe relative to the folder of the file, or a PKCS#11 URI.
    pub certificate: String,
    /// `kid` of `[sig4]`, where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
}

/// The sections that have a key; all else in the file is passed over.
#[derive(DeriveDeserialize)]
struct Sections {
    c3: Option<Written>,
    sig4: Option<Written>,
}

#[derive(DeriveDeserialize)]
struct Written {
    key: Spanned<String>,
    certificate: Spanned<String>,
    #[serde(default)]
    kid: Option<Spanned<String>>,
}

impl ConfigText {
    fn written(&self, role: KeyRole) -> Result<Written, ConfigError> {
        let sections: Sections = toml::from_str(&self.text)
            .map_err(|error| field_error(&self.text, &self.path, &error))?;
        let section = match role {
            KeyRole::C3 => sections.c3,
            KeyRole::Sig4 => sections.sig4,
        };
        section.ok_or_else(|| {
            let message = format!("there is no [{}]", role.section());
            self.wrong(role.section(), message)
        })
    }

    fn wrong(&self, field: &str, message: String) -> ConfigError {
        ConfigError::Field {
            path: self.path.clone(),
            line: 0,
            field: field.to_owned(),
            message,
            advice: None,
        }
    }

    /// Key and certificate of a role.
    ///
    /// # Errors
    /// The text is no TOML, or has no such section.
    pub fn key_and_certificate(&self, role: KeyRole) -> Result<KeyAndCertificate, ConfigError> {
        let written = self.written(role)?;
        Ok(KeyAndCertificate {
            key: written.key.into_inner(),
            certificate: written.certificate.into_inner(),
            kid: written.kid.map(Spanned::into_inner),
        })
    }

    /// The text with other values for a role. `kid` is replaced where it stands, and never added.
    ///
    /// # Errors
    /// As [`ConfigText::key_and_certificate`], or a value cannot be replaced by itself.
    pub fn with_key_and_certificate(
        &self,
        role: KeyRole,
        values: &KeyAndCertificate,
    ) -> Result<Self, ConfigError> {
        let written = self.written(role)?;
        let mut changes = vec![
            (written.key.span(), values.key.as_str()),
            (written.certificate.span(), values.certificate.as_str()),
        ];
        if let (Some(written), Some(kid)) = (written.kid, &values.kid) {
            changes.push((written.span(), kid));
        }
        // From the end on: what comes before keeps its place.
        changes.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        let mut text = self.text.to_string();
        for (span, value) in changes {
            let literal = self.literal(&span, value)?;
            text.replace_range(span, &literal);
        }
        Ok(Self {
            path: self.path.clone(),
            text: Arc::from(text),
        })
    }

    /// The value as a TOML string, quoted as the one that stands there.
    fn literal(&self, span: &Range<usize>, value: &str) -> Result<String, ConfigError> {
        let before = self.text.get(span.clone()).unwrap_or_default();
        if !before.starts_with(['"', '\'']) {
            let message = "it is not written as a string by itself".to_owned();
            return Err(self.wrong("key", message));
        }
        let is_plain = |c: char| c != '\'' && !c.is_control();
        if before.starts_with('\'') && value.chars().all(is_plain) {
            return Ok(format!("'{value}'"));
        }
        Ok(toml_string(value))
    }
}

/// A value as a TOML string.
fn toml_string(value: &str) -> String {
    toml::Value::from(value).to_string()
}

impl KeyAndCertificate {
    /// The lines of the section, for a person who writes them by hand.
    pub fn lines(&self) -> String {
        let mut lines = format!(
            "key = {}\ncertificate = {}",
            toml_string(&self.key),
            toml_string(&self.certificate)
        );
        if let Some(kid) = &self.kid {
            lines.push_str(&format!("\nkid = {}", toml_string(kid)));
        }
        lines
    }
}

impl Config {
    /// This configuration with another key and certificate for a role, and without the comparison with `kid`.
    ///
    /// # Errors
    /// One of them is not what the field takes, or there is no such section.
    pub fn with_key_and_certificate(
        mut self,
        role: KeyRole,
        values: &KeyAndCertificate,
    ) -> Result<Self, ConfigError> {
        let wrong = |field: &str, message: String| ConfigError::Field {
            path: self.path.clone(),
            line: 0,
            field: field.to_owned(),
            message,
            advice: None,
        };
        let key: Pkcs11Uri = field::private_key_uri(deserializer(&values.key))
            .map_err(|error| wrong("key", error.to_string()))?;
        let certificate = CertificateSource::deserialize(deserializer(&values.certificate))
            .map_err(|error| wrong("certificate", error.to_string()))?;
        let no_section = || wrong(role.section(), format!("there is no [{}]", role.section()));
        let folder = self.path.parent().unwrap_or(std::path::Path::new("/"));
        let certificate = relative_source(certificate, folder);
        match role {
            KeyRole::C3 => {
                self.c3.key = key;
                self.c3.certificate = certificate;
            }
            KeyRole::Sig4 => {
                let Some(sig4) = &mut self.sig4 else {
                    return Err(no_section());
                };
                sig4.key = key;
                sig4.certificate = certificate;
                sig4.kid = None;
            }
        }
        Ok(self)
    }
}

/// A value as serde reads it.
fn deserializer(text: &str) -> StrDeserializer<'_, ValueError> {
    text.into_deserializer()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn text(text: &str) -> ConfigText {
        ConfigText {
            path: PathBuf::from("/etc/hsm-mtls/preprod.toml"),
            text: text.into(),
        }
    }

    fn values(key: &str, certificate: &str, kid: Option<&str>) -> KeyAndCertificate {
        KeyAndCertificate {
            key: key.to_owned(),
            certificate: certificate.to_owned(),
            kid: kid.map(str::to_owned),
        }
    }

    #[test]
    fn only_the_values_are_replaced_however_they_are_written() {
        for (before, after) in [
            (
                "# c3\n[c3] # of us\n  key  =  \"pkcs11:object=a\"  # the key\r\n\tcertificate='a.pem' # its certificate",
                "# c3\n[c3] # of us\n  key  =  \"pkcs11:object=b\"  # the key\r\n\tcertificate='b.pem' # its certificate",
            ),
            (
                "c3 = { certificate = \"a.pem\", key = 'pkcs11:object=a', subject = { key = \"pkcs11:object=a\" } }\n",
                "c3 = { certificate = \"b.pem\", key = 'pkcs11:object=b', subject = { key = \"pkcs11:object=a\" } }\n",
            ),
            (
                "c3.key = \"\"\"pkcs11:object=a\"\"\"\nc3.certificate = \"a.\\u0070em\"\n",
                "c3.key = \"pkcs11:object=b\"\nc3.certificate = \"b.pem\"\n",
            ),
        ] {
            let before = text(before);
            let old = values("pkcs11:object=a", "a.pem", None);
            assert_eq!(before.key_and_certificate(KeyRole::C3).unwrap(), old);
            let new = values("pkcs11:object=b", "b.pem", None);
            let changed = before.with_key_and_certificate(KeyRole::C3, &new).unwrap();
            assert_eq!(&*changed.text, after);
            assert_eq!(changed.key_and_certificate(KeyRole::C3).unwrap(), new);
        }
    }

    #[test]
    fn a_value_that_needs_escapes_is_read_back_as_it_was() {
        let before = text("[sig4]\nkey = 'k'\ncertificate = 'c'\nkid = 'old'\n");
        let new = values("pkcs11:object=it's", "a \"\\ b.pem", Some("new"));
        let changed = before
            .with_key_and_certificate(KeyRole::Sig4, &new)
            .unwrap();
        assert_eq!(changed.key_and_certificate(KeyRole::Sig4).unwrap(), new);
        assert!(before.key_and_certificate(KeyRole::C3).is_err());
        let by_hand = text(&format!("[sig4]\n{}\n", new.lines()));
        assert_eq!(by_hand.key_and_certificate(KeyRole::Sig4).unwrap(), new);
        // A kid that is not compared is not added.
        let without = text("[sig4]\nkey = 'k'\ncertificate = 'c'\n");
        let changed = without
            .with_key_and_certificate(KeyRole::Sig4, &new)
            .unwrap();
        assert!(!changed.text.contains("kid"));
    }
}
