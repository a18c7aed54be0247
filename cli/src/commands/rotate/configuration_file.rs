//! Writes the configuration file with the other pair: a reader sees the old file or the new one, with the same owner and mode, and
//! after a power cut it is one of both.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use hsm_mtls::internal::config::{Config, ConfigText, KeyAndCertificate, KeyRole};
use hsm_mtls::internal::state_file;

use super::super::output_file::{PRIVATE_MODE, temp_file_beside};
use super::super::{CommandError, cert};
use super::RotationError;

/// What UTF-8 files may begin with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file that is to name another pair.
pub(super) struct Change {
    role: KeyRole,
    /// The file itself, where the configuration is named by a link.
    path: PathBuf,
    before: ConfigText,
    after: ConfigText,
    values: KeyAndCertificate,
}

impl Change {
    /// Prepares the change; nothing is written. The text after it is parsed, and its paths are checked, as at a start.
    ///
    /// # Errors
    /// The file would not be accepted, or this user cannot replace it.
    pub(super) fn prepare(
        text: ConfigText,
        role: KeyRole,
        values: &KeyAndCertificate,
    ) -> Result<(Self, Config), CommandError> {
        let path = fs::canonicalize(&text.path).unwrap_or_else(|_| text.path.clone());
        let change = Self {
            after: text
                .with_key_and_certificate(role, values)
                .map_err(CommandError::stage)?,
            before: text,
            role,
            path,
            values: values.clone(),
        };
        let config = change.after.check().map_err(CommandError::stage)?;
        // A temporary file shows whether the folder can be written to, before the key is used.
        temp_file_beside(&change.path, PRIVATE_MODE)
            .map_err(|error| change.not_writable(&error))?;
        Ok((change, config))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It was changed meanwhile, or cannot be written: it is as it was.
    pub(super) fn write(&self) -> Result<(), CommandError> {
        let written = self
            .try_write()
            .map_err(|error| self.not_writable(&error))?;
        match written {
            true => Ok(()),
            false => Err(CommandError::stage(RotationError::ChangedMeanwhile {
                path: self.path.clone(),
            })),
        }
    }

    /// False: it was changed meanwhile.
    fn try_write(&self) -> io::Result<bool> {
        let mut file = temp_file_beside(&self.path, PRIVATE_MODE)?;
        cert::copy_owner_and_mode(file.as_file(), &fs::metadata(&self.path)?)?;
        let present = fs::read(&self.path)?;
        let mark = match present.starts_with(BYTE_ORDER_MARK) {
            true => BYTE_ORDER_MARK,
            false => &[],
        };
        if present.get(mark.len()..) != Some(self.before.text.as_bytes()) {
            return Ok(false);
        }
        file.write_all(mark)?;
        file.write_all(self.after.text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        state_file::sync_folder_of(&self.path)?;
        Ok(true)
    }

    fn not_writable(&self, error: &io::Error) -> CommandError {
        CommandError::stage(RotationError::NotWritable {
            path: self.path.clone(),
            why: error.to_string(),
            section: self.role.section(),
            lines: self.values.lines(),
        })
    }
}
