//! Converts an error of the TOML parser into a [`ConfigError`] that names the mistake and what to write instead: missing
//! and unknown fields, wrong types, wrong headers.
//!
//! The parser's own message quotes the line, which may hold a PIN: so only the line's number and the name before its `=`
//! are shown, never a value.

use std::path::Path;

use super::error::{ConfigError, redact_field_name};
use super::file_format;
use super::schema::{SECTIONS, Section, example, sections_with, synonym};
use super::syntax_error::{Explanation, Line, explain, explain_syntax};

/// The configuration error for an error of the parser.
pub(super) fn field_error(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let syntactic = toml::de::DeTable::parse(text).is_err();
    let other_format =
        file_format::empty(text).or_else(|| syntactic.then(|| file_format::recognise(text))?);
    if let Some(other) = other_format {
        return ConfigError::NotToml {
            path: path.to_owned(),
            format: other.format,
            advice: other.advice.to_owned(),
        };
    }
    // A field that is missing above the first section has no line; the parser names the first line.
    let start = error.span().map(|span| span.start);
    let start = start.filter(|start| syntactic || *start > 0);
    let before = start.and_then(|start| text.get(..start.min(text.len())));
    let number = before.map_or(0, |before| before.matches('\n').count() + 1);
    let line = Line::at(text, number);
    let (line, explanation) = if syntactic {
        let explanation = explain_syntax(text, &line, error.message());
        (line, explanation)
    } else {
        match explain_header(text) {
            Some((header, explanation)) => (header, explanation),
            None => {
                let explanation = explain_value(text, &line, error.message());
                (line, explanation)
            }
        }
    };
    let field = if line.number == 0 { "" } else { line.field() };
    ConfigError::Field {
        path: path.to_owned(),
        line: line.number,
        field: field.to_owned(),
        message: explanation.message,
        advice: explanation.advice,
    }
}

/// Explains the first wrong header: one with the wrong number of brackets, or with a misspelt name.
fn explain_header(text: &str) -> Option<(Line<'_>, Explanation)> {
    (1..).zip(text.lines()).find_map(|(number, line)| {
        let inner = line.split('#').next().unwrap_or_default().trim();
        let name = inner.strip_prefix('[')?.strip_suffix(']')?;
        let (name, is_array) = match name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            Some(name) => (name.trim(), true),
            None => (name.trim(), false),
        };
        let explanation = match SECTIONS.iter().find(|section| section.name == name) {
            Some(section) if section.is_array == is_array => return None,
            Some(section @ Section { is_array: true, .. }) => explain(
                format!("write {}, with two brackets on each side", section.header()),
                format!(
                    "there may be several of them, so the header is {}",
                    section.header()
                ),
            ),
            Some(section) => explain(
                format!("write {}, with one bracket on each side", section.header()),
                format!("there is one of it, so the header is {}", section.header()),
            ),
            None if name.starts_with("hub.services.") => return None,
            None => {
                let near = nearest(name, SECTIONS.iter().map(|section| section.name))?;
                let header = SECTIONS
                    .iter()
                    .find(|section| section.name == near)?
                    .header();
                explain(
                    "there is no such section",
                    format!("did you mean {header}?"),
                )
            }
        };
        let text = line;
        Some((Line { number, text }, explanation))
    })
}

/// Explains an error in a file that is valid TOML.
fn explain_value(text: &str, line: &Line<'_>, message: &str) -> Explanation {
    let plain = |advice| Explanation {
        message: redact_field_name(message),
        advice,
    };
    let named = |before: &str| {
        message
            .strip_prefix(before)?
            .split_once('`')
            .map(|(name, _)| name)
    };
    if let Some(field) = named("missing field `") {
        return plain(Some(missing_field(text, field)));
    }
    if let Some(field) = named("unknown field `") {
        return plain(unknown_field(field, message));
    }
    if let Some(written) = named("unknown variant `") {
        let near = nearest(written, expected(message));
        return plain(near.map(|word| format!("did you mean \"{word}\"?")));
    }
    let type_error = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    match type_error.and_then(|error| error.rsplit_once(", expected ")) {
        Some((found, wanted)) => wrong_type(line, found, wanted),
        None => plain(None),
    }
}

fn wrong_type(line: &Line<'_>, found: &str, wanted: &str) -> Explanation {
    // The value follows the type's name in serde's message, and is not repeated.
    let found = found.split(['`', '"']).next().unwrap_or_default().trim();
    let found = match found {
        "integer" => "a number",
        "floating point" | "float" => "a number with a fraction",
        "string" => "text",
        "boolean" => "true or false",
        "map" | "table" => "a table",
        "sequence" | "array" => "a list",
        _ => "what is written",
    };
    let field = match line.field() {
        "" => "name",
        field => field,
    };
    let (wanted, form) = match wanted {
        "a string" | "path string" | "a borrowed string" | "string" => {
            ("text", format!("{field} = \"...\""))
        }
        "a boolean" => (
            "true or false",
            format!("{field} = true or {field} = false, without quotation marks"),
        ),
        "usize" | "u64" | "u32" | "u16" | "u8" | "i64" | "u128" => {
            ("a whole number from 0 on", number_form(field))
        }
        "a sequence" => ("a list", format!("{field} = [\"...\", \"...\"]")),
        wanted if wanted.starts_with("struct ") || wanted == "a map" => (
            "a section of its own",
            format!("[{field}] on a line, and its fields below"),
        ),
        wanted => (wanted, String::new()),
    };
    let message = format!("{wanted} is expected here, not {found}");
    match form.is_empty() {
        true => Explanation {
            message,
            advice: None,
        },
        false => explain(message, format!("write {form}")),
    }
}

/// How a number is written, and which command prints it. There is no example number, which might be copied.
fn number_form(field: &str) -> String {
    let printed_by = match field {
        "owner" | "uids" => "; `id -u USER` prints a user's",
        "group" | "gids" => "; `getent group GROUP` prints a group's, as its third part",
        _ => "",
    };
    format!("{field} = NUMBER, digits without quotation marks{printed_by}")
}

/// The error of a field that the regime wants, and that is missing above the first section.
pub(super) fn missing(text: &str, path: &Path, field: &str) -> ConfigError {
    ConfigError::Field {
        path: path.to_owned(),
        line: 0,
        field: String::new(),
        message: format!("missing field `{field}`"),
        advice: Some(missing_field(text, field)),
    }
}

fn missing_field(text: &str, field: &str) -> String {
    let write = example(field).map_or_else(
        || format!("write `{field}`"),
        |example| format!("write {example}"),
    );
    let elsewhere = (1..).zip(text.lines()).find(|(_, line)| {
        line.split_once('=')
            .is_some_and(|(name, _)| name.trim() == field)
    });
    match elsewhere {
        Some((number, _)) if sections_with(field).len() == 1 => format!(
            "{write}; `{field}` in line {number} stands under another header: it belongs to {}",
            sections_with(field).concat()
        ),
        _ => write,
    }
}

fn unknown_field(field: &str, message: &str) -> Option<String> {
    if let Some(near) = nearest(field, expected(message)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let sections = sections_with(field);
    if !sections.is_empty() {
        return Some(format!("`{field}` belongs to {}", sections.join(" or to ")));
    }
    synonym(&field.to_ascii_lowercase()).map(|form| format!("what is meant is written {form}"))
}

/// The names that serde's message lists after "expected".
fn expected(message: &str) -> impl Iterator<Item = &str> {
    let names = message
        .split_once(", expected ")
        .map_or("", |(_, names)| names);
    names.split('`').skip(1).step_by(2)
}

/// The known name with the smallest edit distance to the one written, regardless of case and dashes; `None` if that is more
/// than two edits, or too many for the length of the name.
fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = written.to_ascii_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&plain, &name.replace('-', "_"));
    let near = known
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)?;
    let (edits, name) = near;
    // Two edits turn any short word into another.
    let max_edits = match name.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    (edits <= max_edits).then_some(name)
}
