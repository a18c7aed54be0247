//! One TOML file per environment, parsed into a value that is already checked.
//!
//! Nothing after this stage sees a string that could be wrong: each field's type refuses what it
//! cannot mean, and the refusal names file, line, field and what to write instead.

pub mod environment;
pub mod pin;
pub mod trust;
pub mod uri;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use environment::{Environment, LfiCode, Origin, Service};
use pin::PinSource;
use trust::{Fingerprint, Trust};
use uri::{ObjectType, Pkcs11Uri};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// The hub environment and its Trust Framework.
    pub environment: Environment,
    /// The LFI's code within host names.
    pub lfi_code: LfiCode,
    /// The token that holds the keys.
    pub token: TokenConfig,
    /// The transport certificate and its key.
    pub c3: C3Config,
    /// Whom we believe to be the hub.
    pub trust: Trust,
    /// Where the hub is and how long it may take.
    pub hub: HubConfig,
    /// What the handshake offers.
    pub tls: TlsConfig,
}

/// `[[token]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Absolute path of the PKCS#11 module.
    #[serde(deserialize_with = "absolute")]
    pub module: PathBuf,
    /// SHA-256 that the module's file must have. None: not pinned.
    #[serde(default)]
    pub module_sha256: Option<Fingerprint>,
    /// Which token; must match exactly one.
    pub uri: Pkcs11Uri,
    /// Where the user's PIN comes from.
    pub pin: PinSource,
    /// How many sessions may sign at once (1 to 1024); the token may allow fewer.
    #[serde(default = "default_sessions", deserialize_with = "sessions")]
    pub sessions: usize,
    /// How long one signature may take, queueing included.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Variables that the module itself reads, set before it is loaded. `{config_dir}` stands for
    /// the folder of the configuration file.
    #[serde(default, deserialize_with = "variables")]
    pub env: BTreeMap<String, String>,
    /// Whether to log in.
    #[serde(default)]
    pub login: LoginPolicy,
}

/// Whether to call C_Login. Tokens misreport the need for it in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginPolicy {
    /// As CKF_LOGIN_REQUIRED says.
    #[default]
    Auto,
    /// Log in although the token says that it needs no login.
    Always,
    /// Never log in.
    Never,
}

/// `[c3]`: the transport identity.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct C3Config {
    /// The private key; must match exactly one.
    #[serde(deserialize_with = "private_key_uri")]
    pub key: Pkcs11Uri,
    /// Where the certificate is.
    pub certificate: CertificateSource,
    /// The subject of a request for it.
    #[serde(default)]
    pub subject: Option<SubjectConfig>,
}

/// Where a certificate chain is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A PEM file, leaf first.
    File(PathBuf),
    /// A certificate object of the token; the Issuing CA comes from the anchors.
    Token(Box<Pkcs11Uri>),
}

/// `[c3.subject]`: what a certificate request asks for, in the order C, O, OU, CN.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectConfig {
    /// C, two letters.
    #[serde(default = "default_country")]
    pub country: String,
    /// O, the legal name exactly as registered.
    pub organization: String,
    /// OU, the Trust Framework's organisation id (a UUID).
    pub organizational_unit: String,
    /// CN, the application's client id (a UUID).
    pub common_name: String,
}

/// `[hub]`: overrides of what the environment derives.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// CM
    pub consent_manager: Origin,
    /// HH
    pub headless_heimdall: Origin,
    /// How long resolving, connecting and the handshake may take together, without the signature.
    pub connect_timeout: Duration,
    /// How long the answer's head may take.
    pub response_timeout: Duration,
}

impl HubConfig {
    /// The origin of a service.
    pub fn origin(&self, service: Service) -> &Origin {
        match service {
            Service::ConsentManager => &self.consent_manager,
            Service::HeadlessHeimdall => &self.headless_heimdall,
        }
    }

    /// Every origin that may be offered our certificate.
    pub fn origins(&self) -> [&Origin; 2] {
        Service::ALL.map(|service| self.origin(service))
    }
}

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Key-exchange groups in order of preference. None: the provider's default, which begins with
    /// the hybrid post-quantum X25519MLKEM768 and so sends a large hello.
    #[serde(default)]
    pub groups: Option<Vec<Group>>,
}

/// A key-exchange group, by its name in the IANA registry "TLS Supported Groups".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Group {
    /// Hybrid of X25519 and ML-KEM-768.
    X25519MLKEM768,
    /// X25519 (RFC 8446)
    #[serde(rename = "x25519")]
    X25519,
    /// NIST P-256
    #[serde(rename = "secp256r1")]
    Secp256r1,
    /// NIST P-384
    #[serde(rename = "secp384r1")]
    Secp384r1,
}

/// Why a configuration was not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No file was named.
    #[error("no configuration was named")]
    Unnamed,
    /// A field is wrong, missing, or not known.
    #[error("{}{}: {message}", path.display(), at_line(*line, field))]
    Field {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; 0 where the fault is in no line.
        line: usize,
        /// The field on that line, if it has one.
        field: String,
        /// What is wrong and what to write.
        message: String,
    },
}

fn at_line(line: usize, field: &str) -> String {
    match (line, field) {
        (0, "") => String::new(),
        (0, field) => format!(", field `{field}`"),
        (line, "") => format!(", line {line}"),
        (line, field) => format!(", line {line}, field `{field}`"),
    }
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path and that this user may read it; `hsm-config/softhsm.toml` is one that works".to_owned()
            }
            Self::Unnamed => "pass --config FILE or set HSM_MTLS_CONFIG".to_owned(),
            Self::Field { path, .. } => format!(
                "correct the field, then run `hsm-mtls --config {} config check`",
                path.display()
            ),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    environment: Environment,
    lfi_code: LfiCode,
    token: Vec<TokenConfig>,
    c3: C3Config,
    trust: Trust,
    #[serde(default)]
    hub: HubFile,
    #[serde(default)]
    tls: TlsConfig,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HubFile {
    consent_manager: Option<Origin>,
    headless_heimdall: Option<Origin>,
    #[serde(default, deserialize_with = "some_duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    response_timeout: Option<Duration>,
}

impl Config {
    /// Reads and checks a file. Relative paths in it are taken from the file's own folder.
    ///
    /// # Errors
    /// The file cannot be read, or a field is wrong: [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        Self::parse(&text, &absolute)
    }

    /// Checks the text of a file that is, or would be, at `path` (absolute).
    ///
    /// # Errors
    /// A field is wrong: [`ConfigError::Field`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| field_error(text, path, &error))?;
        let wrong = |field: &str, message: &str| ConfigError::Field {
            path: path.to_owned(),
            line: line_of_field(text, field),
            field: field.to_owned(),
            message: message.to_owned(),
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let [mut token]: [TokenConfig; 1] = file.token.try_into().map_err(|_| {
            wrong(
                "token",
                "exactly one [[token]] for now: fail-over over several tokens is planned, not built",
            )
        })?;
        if token.uri.names_only_slot() {
            return Err(wrong(
                "uri",
                "slots renumber when a token is added: name `token` or `serial` beside `slot-id`",
            ));
        }
        if token.uri.names_object() {
            return Err(wrong(
                "uri",
                "names an object; here stands the token, and the key in `key` of [c3]",
            ));
        }
        token.pin = token.pin.relative_to(folder);
        for value in token.env.values_mut() {
            *value = value.replace("{config_dir}", &folder.to_string_lossy());
        }
        let mut c3 = file.c3;
        if let CertificateSource::File(certificate) = &mut c3.certificate {
            *certificate = folder.join(&*certificate);
        }
        let derived = |service| file.environment.origin(service, &file.lfi_code);
        let hub = HubConfig {
            consent_manager: file
                .hub
                .consent_manager
                .unwrap_or_else(|| derived(Service::ConsentManager)),
            headless_heimdall: file
                .hub
                .headless_heimdall
                .unwrap_or_else(|| derived(Service::HeadlessHeimdall)),
            connect_timeout: file.hub.connect_timeout.unwrap_or(Duration::from_secs(10)),
            response_timeout: file.hub.response_timeout.unwrap_or(Duration::from_secs(30)),
        };
        Ok(Self {
            path: path.to_owned(),
            environment: file.environment,
            lfi_code: file.lfi_code,
            token,
            c3,
            trust: file.trust.relative_to(folder),
            hub,
            tls: file.tls,
        })
    }
}

/// The parser's own rendering quotes the faulty line, and that line may hold a PIN: so only the
/// line's number and the name before its `=` are shown.
fn field_error(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map(|span| span.start.min(text.len()));
    let (line, field) = start.map_or((0, String::new()), |start| {
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[..start].matches('\n').count() + 1;
        let name = text[line_start..].split('=').next().unwrap_or("").trim();
        let plain = !name.is_empty() && name.len() <= 40 && name.bytes().all(is_key_byte);
        (
            line,
            if plain {
                name.to_owned()
            } else {
                String::new()
            },
        )
    });
    ConfigError::Field {
        path: path.to_owned(),
        line,
        field,
        message: error.message().to_owned(),
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte)
}

fn line_of_field(text: &str, field: &str) -> usize {
    text.lines()
        .position(|line| {
            let line = line.trim_start_matches(['[', ' ']);
            line.strip_prefix(field)
                .is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
        })
        .map_or(0, |at| at + 1)
}

fn default_sessions() -> usize {
    8
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_country() -> String {
    "AE".to_owned()
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(serde::de::Error::custom(
            "write the module's absolute path: a bare name would load whatever the linker finds first",
        ))
    }
}

/// A value is not repeated in a refusal: some modules take a password this way.
fn variables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let wrong = |_| serde::de::Error::custom("`env` takes NAME = \"text\" only");
    let variables = BTreeMap::<String, String>::deserialize(deserializer).map_err(wrong)?;
    let plain = |name: &String| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let fit = variables.keys().all(plain) && variables.values().all(|value| !value.contains('\0'));
    if fit {
        Ok(variables)
    } else {
        Err(serde::de::Error::custom(
            "a name in `env` is made of letters, digits and `_`",
        ))
    }
}

fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=1024 => Ok(count),
        _ => Err(serde::de::Error::custom("`sessions` is from 1 to 1024")),
    }
}

fn private_key_uri<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pkcs11Uri, D::Error> {
    let uri = Pkcs11Uri::deserialize(deserializer)?;
    match uri.object_type {
        None | Some(ObjectType::Private) => Ok(uri),
        Some(_) => Err(serde::de::Error::custom(
            "the key of [c3] is a private key: write type=private",
        )),
    }
}

/// A duration written as `500ms`, `5s` or `2m`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    scale
        .zip(number.parse::<u64>().ok())
        .and_then(|(scale, number)| number.checked_mul(scale))
        .filter(|millis| (1..=3_600_000).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            serde::de::Error::custom(
                "a time is written as \"500ms\", \"5s\" or \"2m\", up to an hour",
            )
        })
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for CertificateSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("pkcs11:") {
            text.parse()
                .map(|uri| Self::Token(Box::new(uri)))
                .map_err(serde::de::Error::custom)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
