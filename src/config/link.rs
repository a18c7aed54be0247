//! A configuration that is a link. Relative paths in it are taken from the folder that the link lies in; who
//! wrote them may have meant the folder that the file itself lies in.

use std::fs;
use std::path::{Path, PathBuf};

use super::pin::PinSource;
use super::{CertificateSource, Config, ConfigError};

impl Config {
    /// Where the file itself is, when the configuration was named by a link to it.
    pub fn behind_link(&self) -> Option<PathBuf> {
        let is_link = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.is_symlink());
        is_link.then(|| fs::canonicalize(&self.path).ok())?
    }

    /// Files that are not where the link lies, and are where it leads to.
    pub(super) fn check_link(&self) -> Result<(), ConfigError> {
        let (Some(real), Some(folder)) = (self.behind_link(), self.path.parent()) else {
            return Ok(());
        };
        let there = real.parent().unwrap_or(Path::new("/"));
        let missed = self.files().into_iter().find_map(|(field, path)| {
            let name = path.strip_prefix(folder).ok()?;
            let missed = fs::symlink_metadata(path).is_err() && there.join(name).exists();
            missed.then(|| (field, name.to_owned()))
        });
        let Some((field, name)) = missed else {
            return Ok(());
        };
        let (folder, there) = (folder.display(), there.display());
        Err(ConfigError::Field {
            path: self.path.clone(),
            line: 0,
            field: field.to_owned(),
            message: format!(
                "the configuration is a link to {}; relative paths are taken from the link's folder {folder}, and {} is in {there}",
                real.display(),
                name.display()
            ),
            advice: Some(format!(
                "write the absolute path {there}/{}, or name the file itself: `--config {}`",
                name.display(),
                real.display()
            )),
        })
    }

    /// Files that are there before the first start.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        let mut files = vec![("anchors", self.trust.anchors.as_path())];
        files.extend(self.trust.crls.iter().map(|crl| ("crls", crl.as_path())));
        if let CertificateSource::File(path) = &self.c3.certificate {
            files.push(("certificate", path));
        }
        if let PinSource::File(path) = &self.token.pin {
            files.push(("pin", path));
        }
        if let Some(ledger) = &self.ledger {
            files.push(("file", &ledger.file));
        }
        if let Some(attestation) = &self.audit.attestation {
            files.push(("attestation", attestation));
        }
        let values = self.token.env.values();
        files.extend(values.map(|value| ("env", Path::new(value))));
        files
    }
}
