//! The configurations of `hsm-config/`, one for each family of HSMs: what their headers say, and their lines of [[token]].

use std::fs;
use std::path::{Path, PathBuf};

/// How far a family was tried. Nothing else may stand in a header.
pub const STATUSES: [&str; 3] = ["tested on the device", "tested on a simulator", NEVER_RUN];
pub const NEVER_RUN: &str = "from documents, never run";

/// A configuration and what its header says.
pub struct FamilyConfig {
    pub path: PathBuf,
    pub title: String,
    pub profile: String,
    pub status: String,
    /// File and function of each test.
    pub tests: Vec<(String, String)>,
    /// The lines of [[token]], without comments: name and value.
    pub token: Vec<(String, String)>,
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

impl FamilyConfig {
    /// All of them, by name of file.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("hsm-config")).expect("hsm-config");
        let paths = entries.map(|entry| entry.expect("an entry of it").path());
        let mut paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    /// The first lines are `# hsm-mtls: TITLE`, `# profile: NAME`, `# status: STATUS`, and `# test: FILE FUNCTION` for each test.
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("a configuration");
        let mut lines = text.lines().peekable();
        let mut field = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line.strip_prefix(&format!("# {name}: "));
            value
                .unwrap_or_else(|| panic!("{}: no `# {name}: `: {line}", path.display()))
                .to_owned()
        };
        let (title, profile, status) = (field("hsm-mtls"), field("profile"), field("status"));
        let mut tests = Vec::new();
        while let Some(test) = lines.next_if(|line| line.starts_with("# test: ")) {
            let words: Vec<_> = test.split(' ').skip(2).collect();
            let [file, function] = words[..] else {
                panic!("{}: {test}: not a file and a function", path.display());
            };
            tests.push((file.to_owned(), function.to_owned()));
        }
        let (_, token) = text.split_once("[[token]]\n").expect("[[token]]");
        let token = token.split("\n[").next().expect("its lines");
        let settings = token.lines().filter(|line| !line.starts_with('#'));
        let settings = settings.filter_map(|line| line.split_once('='));
        let token = settings
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self {
            path,
            title,
            profile,
            status,
            tests,
            token,
        }
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        let name = self.path.file_name().expect("a file");
        name.to_str().expect("a plain name").to_owned()
    }
}
