//! From the parser's word on a line to what a person did there, and what to write instead.
//!
//! The parser's own rendering quotes the faulty line, and that line may hold a PIN: so what is shown is
//! the line's number, the name before its `=`, and never a value.

use std::path::Path;

use super::error::{ConfigError, without_strange_names};
use super::foreign;
use super::schema::{SECTIONS, Section, example, homes_of, synonym};
use super::syntax::{Line, Said, said, syntax};

/// The parser's error as it is told.
pub(super) fn field_error(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let syntactic = toml::de::DeTable::parse(text).is_err();
    let foreign = foreign::empty(text).or_else(|| syntactic.then(|| foreign::recognised(text))?);
    if let Some(foreign) = foreign {
        return ConfigError::NotToml {
            path: path.to_owned(),
            what: foreign.what,
            advice: foreign.advice.to_owned(),
        };
    }
    // A field that is missing at the top stands on no line; the parser then names the first.
    let start = error.span().map(|span| span.start);
    let start = start.filter(|start| syntactic || *start > 0);
    let before = start.and_then(|start| text.get(..start.min(text.len())));
    let number = before.map_or(0, |before| before.matches('\n').count() + 1);
    let line = Line::at(text, number);
    let (line, said) = if syntactic {
        let said = syntax(text, &line, error.message());
        (line, said)
    } else {
        match header(text) {
            Some((header, said)) => (header, said),
            None => {
                let said = meaning(text, &line, error.message());
                (line, said)
            }
        }
    };
    let field = if line.number == 0 { "" } else { line.field() };
    ConfigError::Field {
        path: path.to_owned(),
        line: line.number,
        field: field.to_owned(),
        message: said.message,
        advice: said.advice,
    }
}

/// A header that no section has: with too few brackets or too many, or of another name.
fn header(text: &str) -> Option<(Line<'_>, Said)> {
    (1..).zip(text.lines()).find_map(|(number, line)| {
        let inner = line.split('#').next().unwrap_or_default().trim();
        let name = inner.strip_prefix('[')?.strip_suffix(']')?;
        let (name, many) = match name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            Some(name) => (name.trim(), true),
            None => (name.trim(), false),
        };
        let told = match SECTIONS.iter().find(|section| section.name == name) {
            Some(section) if section.many == many => return None,
            Some(section @ Section { many: true, .. }) => said(
                format!("write {}, with two brackets on each side", section.header()),
                format!(
                    "there may be several of them, so the header is {}",
                    section.header()
                ),
            ),
            Some(section) => said(
                format!("write {}, with one bracket on each side", section.header()),
                format!("there is one of it, so the header is {}", section.header()),
            ),
            None => {
                let near = nearest(name, SECTIONS.iter().map(|section| section.name))?;
                let header = SECTIONS
                    .iter()
                    .find(|section| section.name == near)?
                    .header();
                said(
                    "there is no such section",
                    format!("did you mean {header}?"),
                )
            }
        };
        let text = line;
        Some((Line { number, text }, told))
    })
}

/// Of a file that is TOML.
fn meaning(text: &str, line: &Line<'_>, message: &str) -> Said {
    let plain = |advice| Said {
        message: without_strange_names(message),
        advice,
    };
    let named = |before: &str| {
        message
            .strip_prefix(before)?
            .split_once('`')
            .map(|(name, _)| name)
    };
    if let Some(field) = named("missing field `") {
        return plain(Some(missing(text, field)));
    }
    if let Some(field) = named("unknown field `") {
        return plain(unknown(field, message));
    }
    if let Some(written) = named("unknown variant `") {
        let near = nearest(written, expected(message));
        return plain(near.map(|word| format!("did you mean \"{word}\"?")));
    }
    let typed = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    match typed.and_then(|typed| typed.rsplit_once(", expected ")) {
        Some((found, wanted)) => wrong_type(line, found, wanted),
        None => plain(None),
    }
}

fn wrong_type(line: &Line<'_>, found: &str, wanted: &str) -> Said {
    // What was written follows the kind's name, and is not repeated.
    let kind = found.split(['`', '"']).next().unwrap_or_default().trim();
    let kind = match kind {
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
            ("a whole number from 0 on", number_of(field))
        }
        "a sequence" => ("a list", format!("{field} = [\"...\", \"...\"]")),
        wanted if wanted.starts_with("struct ") || wanted == "a map" => (
            "a section of its own",
            format!("[{field}] on a line, and its fields below"),
        ),
        wanted => (wanted, String::new()),
    };
    let message = format!("{wanted} is expected here, not {kind}");
    match form.is_empty() {
        true => Said {
            message,
            advice: None,
        },
        false => said(message, format!("write {form}")),
    }
}

/// How a number is written: which one is the reader's to say.
fn number_of(field: &str) -> String {
    let printed_by = match field {
        "owner" | "uids" => "; `id -u USER` prints a user's",
        "group" | "gids" => "; `getent group GROUP` prints a group's, as its third part",
        _ => "",
    };
    format!("{field} = NUMBER, digits without quotation marks{printed_by}")
}

fn missing(text: &str, field: &str) -> String {
    let write = example(field).map_or_else(
        || format!("write `{field}`"),
        |example| format!("write {example}"),
    );
    let there = (1..).zip(text.lines()).find(|(_, line)| {
        line.split_once('=')
            .is_some_and(|(name, _)| name.trim() == field)
    });
    match there {
        Some((number, _)) if homes_of(field).len() == 1 => format!(
            "{write}; `{field}` in line {number} stands under another header: it belongs to {}",
            homes_of(field).concat()
        ),
        _ => write,
    }
}

fn unknown(field: &str, message: &str) -> Option<String> {
    if let Some(near) = nearest(field, expected(message)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let known = homes_of(field);
    if !known.is_empty() {
        return Some(format!("`{field}` belongs to {}", known.join(" or to ")));
    }
    synonym(&field.to_ascii_lowercase()).map(|form| format!("what is meant is written {form}"))
}

/// The names that a message lists behind "expected".
fn expected(message: &str) -> impl Iterator<Item = &str> {
    let names = message
        .split_once(", expected ")
        .map_or("", |(_, names)| names);
    names.split('`').skip(1).step_by(2)
}

/// The name that was meant: the same in another case or with another dash, else with a slip or two.
fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = written.to_ascii_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&plain, &name.replace('-', "_"));
    let near = known
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)?;
    let (slips, name) = near;
    // Of a short word little is left after two slips.
    let most = match name.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    (slips <= most).then_some(name)
}
