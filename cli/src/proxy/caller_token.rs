//! The caller token of a TCP listener: a shared secret that an application sends with each request. It is read from a
//! file of mode 600, and compared in constant time.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use super::ProxyError;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::owner_and_mode::{FileUsers, Protection, fault_of_file_of};

/// The header that carries the caller token.
pub const CALLER_TOKEN: HeaderName = HeaderName::from_static("x-hsm-mtls-caller");

/// The length of a token in bytes. A shorter one could be guessed.
const LENGTH: RangeInclusive<usize> = 20..=200;

/// A caller token.
#[derive(Debug)]
pub(super) struct CallerToken(SecretString);

impl CallerToken {
    /// Reads the token of a file.
    ///
    /// # Errors
    /// The file cannot be read, others than its owner can use it, or it holds no token.
    pub(super) fn read(path: &Path) -> Result<Self, ProxyError> {
        Self::read_as(path, FileUsers::of_this_process())
    }

    fn read_as(path: &Path, users: FileUsers) -> Result<Self, ProxyError> {
        let unusable = |reason: String| ProxyError::CallerToken {
            path: path.to_owned(),
            reason,
        };
        let failed = |error: std::io::Error| unusable(error.to_string());
        let mut file = File::open(path).map_err(failed)?;
        // The metadata is that of the open file, not of the path: the file cannot be replaced between check and read.
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(unusable("it is not a file".to_owned()));
        }
        // The way to it was checked when the configuration was loaded.
        if let Some(fault) = fault_of_file_of(path, &meta, Protection::Secret, users) {
            let command = fault.advice();
            return Err(unusable(format!(
                "it is not safe from other users: {fault}; {command}"
            )));
        }
        let mut text = String::with_capacity(*LENGTH.end() + 2);
        Read::by_ref(&mut file)
            .take(*LENGTH.end() as u64 + 2)
            .read_to_string(&mut text)
            .map_err(|_| unusable("it cannot be read as text".to_owned()))?;
        let token = text.trim_end_matches(['\r', '\n']);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !LENGTH.contains(&token.len()) || !token.bytes().all(allowed) {
            return Err(unusable(
                "it is not 20 to 200 letters, digits, - or _".to_owned(),
            ));
        }
        Ok(Self(SecretString::from(token)))
    }

    /// Compares in constant time: the duration does not tell where the two differ.
    pub(super) fn matches(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(given, self.0.expose_secret().as_bytes()).is_ok()
    }
}

/// Checks the files of all caller tokens as the start of the proxy does, for the users whose they may be.
///
/// # Errors
/// One cannot be used: the proxy would not start.
pub fn check_tokens(config: &ProxyConfig, users: FileUsers) -> Result<(), ProxyError> {
    config
        .token_files()
        .try_for_each(|file| CallerToken::read_as(file, users).map(drop))
}
