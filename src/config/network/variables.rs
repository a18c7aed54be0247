//! The variables of the environment that name a forward proxy, as other programs read them. They hold where the configuration
//! says `proxy = "environment"`, and nowhere else: a service must not go another way because of how it was started.

use std::env;

use secrecy::SecretString;
use url::Url;

use super::credentials::CredentialsSource;
use super::proxy_url::ProxyUrl;

/// The variables for https, in the order of their precedence: the lower-case one comes first, as curl has it.
const PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// A forward proxy that a variable names.
pub(super) struct OfVariable {
    pub(super) url: ProxyUrl,
    pub(super) variable: &'static str,
    pub(super) credentials: Option<CredentialsSource>,
}

/// The first of the variables that is set, and is not empty.
pub(super) fn first_set() -> Option<&'static str> {
    PROXY
        .into_iter()
        .find(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The forward proxy of the environment. `None`: no variable names one.
///
/// # Errors
/// The variable's value is none. The message does not hold it: it may have a password.
pub(super) fn proxy() -> Result<Option<OfVariable>, String> {
    let Some(variable) = first_set() else {
        return Ok(None);
    };
    let wrong = |why: String| format!("the environment variable {variable}: {why}");
    let value = env::var(variable).map_err(|_| wrong("its value is no text".to_owned()))?;
    of_value(variable, &value).map(Some).map_err(wrong)
}

/// The list of hosts that are reached without it.
pub(super) fn no_proxy() -> Option<String> {
    NO_PROXY.into_iter().find_map(|name| env::var(name).ok())
}

fn of_value(variable: &'static str, value: &str) -> Result<OfVariable, String> {
    // curl and others take it without a scheme.
    let with_scheme = match value.contains("://") {
        true => value.to_owned(),
        false => format!("http://{value}"),
    };
    let (parsed, url) = ProxyUrl::parse(&with_scheme)?;
    let credentials = user_and_password(&parsed)?;
    Ok(OfVariable {
        url,
        variable,
        credentials: credentials.map(|secret| CredentialsSource::Url(variable, secret)),
    })
}

/// `user:password` of a URL, percent-decoded.
fn user_and_password(url: &Url) -> Result<Option<SecretString>, String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut text = decoded(url.username())?;
    text.push(':');
    text.push_str(&decoded(url.password().unwrap_or_default())?);
    Ok(Some(SecretString::from(text)))
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => {
                    return Err("a % in its user name or password is none of %00 to %FF".to_owned());
                }
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| "its user name or password is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_variable_has_the_forms_that_other_programs_take() {
        for (value, place, secret) in [
            ("http://proxy.bank:3128", "http://proxy.bank:3128", None),
            ("proxy.bank:3128/", "http://proxy.bank:3128", None),
            ("https://proxy.bank", "https://proxy.bank:443", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            ("http://a:b%40%3Ac@p:1", "http://p:1", Some("a:b@:c")),
            ("http://a@p:1", "http://p:1", Some("a:")),
        ] {
            let found = of_value("HTTPS_PROXY", value).unwrap();
            assert_eq!(found.url.to_string(), place);
            let found = match &found.credentials {
                Some(CredentialsSource::Url(_, secret)) => Some(secret.expose_secret()),
                _ => None,
            };
            assert_eq!(found, secret, "{value}");
        }
        for value in [
            "socks5://a:s3cret@proxy:1080",
            "http://a:s3cret%@p:1",
            "http://a:s3cret@p:1/path",
            "ftp://a:s3cret@p",
            "http://a:s3cret@p:99999",
        ] {
            let error = of_value("HTTPS_PROXY", value).err().unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
