//! Recognises files of other formats than TOML (PEM, JSON, YAML, configurations of other programs) and empty files: the
//! parser's error for their first line would not tell the operator that the file is the wrong one.

/// A format that was recognised, and what to do about it.
pub(super) struct OtherFormat {
    /// The format's name for messages, with its article.
    pub(super) format: &'static str,
    pub(super) advice: &'static str,
}

const EXAMPLE: &str =
    "name the TOML file of an environment with --config; the README has one, field by field";

/// Recognises a text without any setting: empty, or with comments only.
pub(super) fn empty(text: &str) -> Option<OtherFormat> {
    let is_empty = settings(text).next().is_none();
    is_empty.then_some(OtherFormat {
        format: "an empty file",
        advice: "write the configuration of an environment into it; the README has one, field by field",
    })
}

/// Recognises the format of a text that is not TOML.
pub(super) fn recognise(text: &str) -> Option<OtherFormat> {
    let other = |format| {
        Some(OtherFormat {
            format,
            advice: EXAMPLE,
        })
    };
    let start = settings(text).next().unwrap_or_default();
    if text
        .lines()
        .any(|line| line.trim_start().starts_with("-----BEGIN "))
    {
        return Some(OtherFormat {
            format: "a PEM file",
            advice: "a certificate is named in `certificate` of [c3], a bundle in `anchors` of [trust]; --config takes the TOML file",
        });
    }
    if start.starts_with('{') {
        return other("JSON");
    }
    if start.starts_with('<') {
        return other("XML or HTML");
    }
    if text.starts_with("#!") {
        return other("a script");
    }
    // A syntax error in a configuration of this program is reported as one.
    if settings(text).any(is_own_setting) {
        return None;
    }
    let all: Vec<&str> = settings(text).collect();
    let most =
        |is: &dyn Fn(&str) -> bool| 2 * all.iter().filter(|line| is(line)).count() > all.len();
    if most(&|line| line.ends_with([';', '{', '}'])) {
        return other("a configuration of nginx, or of a program like it");
    }
    let variable = |line: &str| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        })
    };
    if most(&variable) {
        return other("a file of variables (NAME=value)");
    }
    let yaml = |line: &str| {
        let line = line.strip_prefix("- ").unwrap_or(line);
        line == "---"
            || line.ends_with(':')
            || line.starts_with("- ")
            || line
                .split_once(": ")
                .is_some_and(|(name, _)| !name.contains(['=', ' ']))
    };
    if most(&yaml) {
        return other("YAML");
    }
    let unquoted = |line: &str| {
        line.starts_with('[')
            || line
                .split_once('=')
                .is_some_and(|(_, value)| !value.trim().starts_with(['"', '\'', '[', '{']))
    };
    if all.len() > 1 && most(&unquoted) {
        return other("an INI file, or a configuration of OpenSSL");
    }
    None
}

/// The lines that are neither blank nor comments.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches('\u{feff}').trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// Whether a line occurs in configurations of this program only.
fn is_own_setting(line: &str) -> bool {
    let sections = ["[[token]]", "[token]", "[c3]", "[trust]"];
    let name = line.split_once('=').map_or(line, |(name, _)| name).trim();
    sections.contains(&line) || (line.contains('=') && ["lfi_code", "environment"].contains(&name))
}
