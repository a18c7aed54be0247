//! Reads a token, or further claims, from a file or standard input. No error has a part of what was read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hsm_mtls::internal::jwks::token_verification::FormError;

use super::super::CommandError;

/// More than any token has.
const MAX_LEN: u64 = 64 << 10;

/// The text in a file, or of standard input for `-`, without the white space around it.
///
/// # Errors
/// It cannot be read, or is no text.
pub(super) fn read_token(path: &Path) -> Result<String, CommandError> {
    let bytes = read(path, "the token")?;
    match String::from_utf8(bytes) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(malformed("there is no token: the input is empty")),
        Err(_) => Err(malformed("this is no token: the input is no text")),
    }
}

/// An error of what was read as a token.
pub(super) fn malformed(message: &str) -> CommandError {
    CommandError::usage(message, FormError::Parts(0).hint())
}

/// The content of a file, or of standard input for `-`. `what` is its name in the error.
///
/// # Errors
/// It cannot be read, or is longer than a token.
pub(super) fn read(path: &Path, what: &str) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let mut read = |input: &mut dyn Read| input.take(MAX_LEN + 1).read_to_end(&mut bytes);
    let done = match path == Path::new("-") {
        true => read(&mut io::stdin().lock()),
        false => File::open(path).and_then(|mut file| read(&mut file)),
    };
    match done {
        Ok(length) if length as u64 <= MAX_LEN => Ok(bytes),
        Ok(_) => Err(CommandError::usage(
            format!(
                "{what} in {} is longer than {} KiB",
                path.display(),
                MAX_LEN >> 10
            ),
            "name another file",
        )),
        Err(error) => Err(CommandError::usage(
            format!("{what} cannot be read from {}: {error}", path.display()),
            "name a file that this user can read, or - for standard input",
        )),
    }
}
