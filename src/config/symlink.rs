//! A configuration file that is a symbolic link. Relative paths in it are resolved against the link's folder; if a file
//! exists only in the target's folder, that is reported as an error.

use std::fs;
use std::path::{Path, PathBuf};

use super::pin::PinSource;
use super::{Config, ConfigError};

impl Config {
    /// The resolved target, if the configuration file is a symbolic link.
    pub fn symlink_target(&self) -> Option<PathBuf> {
        let is_link = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.is_symlink());
        is_link.then(|| fs::canonicalize(&self.path).ok())?
    }

    /// Refuses a relative path at which a file exists in the target's folder and none in the link's.
    pub(super) fn check_symlink(&self) -> Result<(), ConfigError> {
        let (Some(target), Some(folder)) = (self.symlink_target(), self.path.parent()) else {
            return Ok(());
        };
        let target_folder = target.parent().unwrap_or(Path::new("/"));
        let missed = self.existing_files().into_iter().find_map(|(field, path)| {
            let name = path.strip_prefix(folder).ok()?;
            let missed = fs::symlink_metadata(path).is_err() && target_folder.join(name).exists();
            missed.then(|| (field, name.to_owned()))
        });
        let Some((field, name)) = missed else {
            return Ok(());
        };
        let (folder, target_folder) = (folder.display(), target_folder.display());
        Err(ConfigError::Field {
            path: self.path.clone(),
            line: 0,
            field: field.to_owned(),
            message: format!(
                "the configuration is a link to {}; relative paths are taken from the link's folder {folder}, and {} is in {target_folder}",
                target.display(),
                name.display()
            ),
            advice: Some(format!(
                "write the absolute path {target_folder}/{}, or name the file itself: `--config {}`",
                name.display(),
                target.display()
            )),
        })
    }

    /// The configured files that usually exist before the first start, with the names of their fields.
    fn existing_files(&self) -> Vec<(&'static str, &Path)> {
        let mut files = vec![("anchors", self.trust.anchors.as_path())];
        files.extend(self.trust.crl_files().map(|file| ("crls", file)));
        files.extend(self.certificate_files().map(|file| ("certificate", file)));
        for token in self.tokens() {
            if let PinSource::File(path) = &token.pin {
                files.push(("pin", path));
            }
            let folder = token.working_dir.as_deref();
            files.extend(folder.map(|folder| ("working_dir", folder)));
        }
        if let Some(ledger) = &self.ledger {
            files.push(("file", &ledger.file));
        }
        if let Some(attestation) = &self.audit.attestation {
            files.push(("attestation", attestation));
        }
        let values = self.tokens().flat_map(|token| token.env.values());
        files.extend(values.map(|value| ("env", Path::new(value))));
        files
    }
}
