//! Explains TOML syntax errors: recognises common mistakes, such as missing or curly quotation marks, comments of another
//! syntax and duplicate fields.

use super::error::{is_field_name, redact_field_name};
use super::schema::SECTIONS;

/// What is wrong, and what to write instead.
pub(super) struct Explanation {
    pub(super) message: String,
    pub(super) advice: Option<String>,
}

/// An explanation with advice.
pub(super) fn explain(message: impl Into<String>, advice: impl Into<String>) -> Explanation {
    Explanation {
        message: message.into(),
        advice: Some(advice.into()),
    }
}

/// A line of the configuration file.
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn at(text: &'a str, number: usize) -> Self {
        let line = text.lines().nth(number.saturating_sub(1));
        Self {
            number,
            text: line.unwrap_or_default().trim_start_matches('\u{feff}'),
        }
    }

    /// The name before the `=`; empty if that does not look like a field's name.
    pub(super) fn field(&self) -> &'a str {
        let name = self
            .text
            .split_once('=')
            .map_or("", |(name, _)| name.trim());
        match is_field_name(name) {
            true => name,
            false => "",
        }
    }

    /// The text after the `=`.
    pub(super) fn value(&self) -> &'a str {
        self.text
            .split_once('=')
            .map_or("", |(_, value)| value.trim())
    }
}

/// Explains why a line is not valid TOML; `message` is the parser's.
pub(super) fn explain_syntax(text: &str, line: &Line<'_>, message: &str) -> Explanation {
    let field = match line.field() {
        "" => "name",
        field => field,
    };
    if let Some(explanation) = confusable_character(line.text, field) {
        return explanation;
    }
    let mentions = |part: &str| message.contains(part);
    if mentions("duplicate key") {
        return duplicate(text, line);
    }
    if mentions("string values must be quoted") || mentions("invalid boolean") {
        let word = line.value().split([' ', '#']).next().unwrap_or_default();
        let booleans = ["true", "false", "yes", "no", "on", "off"];
        return match booleans.contains(&word.to_ascii_lowercase().as_str()) {
            true => explain(
                "true and false are written so, in small letters and without quotation marks",
                format!("write {field} = true or {field} = false"),
            ),
            false => explain(
                "text stands in quotation marks",
                format!("write {field} = {}", quoted(field, line.value())),
            ),
        };
    }
    if mentions("missing opening quote") {
        return explain(
            "the quotation mark before the text is missing",
            format!("write {field} = \"...\""),
        );
    }
    if mentions("invalid basic string")
        || mentions("invalid literal string")
        || mentions("multi-line")
    {
        return explain(
            "the quotation mark behind the text is missing",
            format!("write {field} = \"...\", all of it on one line"),
        );
    }
    if mentions("escape") || mentions("unicode value digits") {
        return explain(
            "a backslash within \"...\" begins an escape",
            "write the text in single quotation marks ('...'), where a backslash is itself; the folders of a path are separated by /",
        );
    }
    if mentions("key with no value") {
        let inner = line.text.trim_start();
        return if inner.starts_with("//") || inner.starts_with("/*") || inner.starts_with("--") {
            explain("this is no comment", "a comment begins with #")
        } else if inner.starts_with("export ") || inner.starts_with("set ") {
            explain("this is a shell's word", "write name = \"value\" alone")
        } else if inner
            .split_once(':')
            .is_some_and(|(name, _)| !name.contains('='))
        {
            explain(
                "a name and its value are separated by =, not by :",
                "write name = \"value\"",
            )
        } else {
            explain(
                "a name without = and a value",
                "write name = \"value\"; a comment begins with #",
            )
        };
    }
    if mentions("expected newline") && !mentions("carriage return") {
        let end = line.text.trim_end();
        return if end.ends_with([',', ';']) {
            explain(
                "nothing stands behind a value",
                "remove the comma or semicolon at the end of the line",
            )
        } else {
            explain(
                "something stands behind the value",
                "one setting a line; text with quotation marks in it stands in single ones: 'a \"b\" c'",
            )
        };
    }
    if mentions("carriage return") {
        return explain(
            "the lines end with a carriage return alone",
            "convert the file: `tr '\\r' '\\n' <OLD >NEW`",
        );
    }
    if mentions("unclosed table") {
        return Explanation {
            message: message.to_owned(),
            advice: Some(
                "a header is closed by as many brackets as open it: [c3], [[token]]".to_owned(),
            ),
        };
    }
    Explanation {
        message: redact_field_name(message),
        advice: None,
    }
}

/// The form of a field's value with quotation marks. A text that is written as the PIN becomes a PIN source.
fn quoted(field: &str, value: &str) -> String {
    let inner = value.strip_prefix('{').and_then(|table| {
        let (name, _) = table.split_once('=')?;
        Some(name.trim())
    });
    match (field, inner) {
        (_, Some("command")) => "{ command = [\"...\"] }".to_owned(),
        (_, Some(name)) if is_field_name(name) => format!("{{ {name} = \"...\" }}"),
        ("pin", _) if !["prompt", "protected-path"].contains(&value) => {
            "{ file = \"...\" }".to_owned()
        }
        _ => "\"...\"".to_owned(),
    }
}

/// Explains a character that looks like an ASCII character but is another, outside of comments.
fn confusable_character(line: &str, field: &str) -> Option<Explanation> {
    let code = line.split('#').next().unwrap_or_default();
    code.chars().find_map(|c| match c {
        '\u{2018}'..='\u{201f}'
        | '\u{ab}'
        | '\u{bb}'
        | '\u{2032}'
        | '\u{2033}'
        | '`'
        | '\u{b4}' => Some(explain(
            "curly quotation marks, as a word processor puts them",
            format!("write straight ones: {field} = \"...\""),
        )),
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}'
        | '\u{3000}'
        | '\u{feff}'
        | '\u{ad}' => Some(explain(
            format!(
                "a character that looks like a blank, or like nothing, and is neither (U+{:04X})",
                u32::from(c)
            ),
            "write the line anew, with plain blanks",
        )),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some(explain(
            "a dash of a word processor",
            "write a plain - or _",
        )),
        '\u{ff01}'..='\u{ff5e}' => Some(explain(
            "a character of full width",
            "write it in plain ASCII",
        )),
        _ => None,
    })
}

/// Explains a field or a header that is written twice.
fn duplicate(text: &str, line: &Line<'_>) -> Explanation {
    let name = |line: &str| {
        let line = line.trim();
        match line.strip_prefix('[') {
            Some(_) => line.trim_matches(['[', ']', ' ']).to_owned(),
            None => line
                .split_once('=')
                .map_or(line, |(name, _)| name)
                .trim()
                .to_owned(),
        }
    };
    let wanted = name(line.text);
    let is_header = line.text.trim_start().starts_with('[');
    let start = match is_header {
        true => 1,
        false => section_start(text, line.number),
    };
    let lines = text
        .lines()
        .enumerate()
        .skip(start - 1)
        .take(line.number - start);
    let mut duplicates = lines.filter(|(_, other)| {
        other.trim_start().starts_with('[') == is_header && name(other) == wanted
    });
    let first = duplicates
        .next()
        .map(|(at, _)| format!(" (first in line {})", at + 1));
    let has_subsection_above = is_header
        && text
            .lines()
            .take(line.number - 1)
            .any(|other| name(other).starts_with(&format!("{wanted}.")));
    if has_subsection_above && first.is_none() {
        return explain(
            "a part of this section stands above it",
            format!("move [{wanted}.*] below the header that it belongs to"),
        );
    }
    let first = first.unwrap_or_default();
    match is_header {
        true if SECTIONS
            .iter()
            .any(|section| section.is_array && section.name == wanted) =>
        {
            explain(
                format!("this section is there already{first}"),
                format!("each {wanted} has a header with two brackets: [[{wanted}]]"),
            )
        }
        true => explain(
            format!("this section is there already{first}"),
            "put all its fields under one header",
        ),
        false => explain(
            format!("this field is set already{first}"),
            "keep one of the two",
        ),
    }
}

/// The number of the line after the header of the section that a line is in.
fn section_start(text: &str, number: usize) -> usize {
    let above: Vec<_> = text.lines().take(number - 1).collect();
    let header = above
        .iter()
        .rposition(|line| line.trim_start().starts_with('['));
    header.map_or(1, |at| at + 2)
}
