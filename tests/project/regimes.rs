//! What belongs to one scheme stands in `regimes/`, and not in the code: no host name, no name of a CA, no name of a service.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::programs::top;

/// What the code of a program for any scheme has no use for.
const OF_ONE_SCHEME: [&str; 5] = [
    "openfinance.ae",
    "al tareq",
    "nebras",
    "consent manager",
    "headless heimdall",
];
/// The short names of services, which count as words only.
const WORDS: [&str; 2] = ["cm", "hh"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["snapshots", "error_tests"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The lines before the tests of a file, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]");
    (1..).zip(lines)
}

fn names_a_scheme(line: &str) -> bool {
    let line = line.to_lowercase();
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    OF_ONE_SCHEME.iter().any(|name| line.contains(name)) || words.any(|word| WORDS.contains(&word))
}

#[test]
fn the_code_names_nothing_of_a_scheme() {
    let mut files = Vec::new();
    for folder in ["src", "cli/src", "softhsm/chaos-token/src"] {
        sources(&top().join(folder), &mut files);
    }
    files.push(top().join("examples/hello_hub.rs"));
    assert!(files.len() > 250, "{}", files.len());
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let named = code(&text).filter(|(_, line)| names_a_scheme(line));
        found.extend(named.map(|(number, line)| format!("{}:{number}: {line}", file.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn it_would_be_noticed() {
    for line in [
        "let host = \"x.apihub.openfinance.ae\";",
        "Some(b\"/cm/\") => first,",
        "// asks HH",
        "\"Al Tareq Root\"",
    ] {
        assert!(names_a_scheme(line), "{line}");
    }
    assert!(!names_a_scheme("let acme = cmd.hhmm();"));
    let data = fs::read_to_string(top().join("regimes/uae.toml")).unwrap();
    assert!(data.lines().any(names_a_scheme));
}
