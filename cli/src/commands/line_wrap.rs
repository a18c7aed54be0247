//! Wraps text at the terminal's width, between words, with a hanging indent. Text for a file or a pipe is not wrapped.

use std::env;
use std::os::fd::AsFd;

use terminal_size::terminal_size_of;
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, fill};

/// Where the right column would be narrower than this, its text goes below the left one.
const MIN_TEXT_WIDTH: usize = 30;
/// The indent of a text below its name.
const BELOW_INDENT: usize = 6;

/// The terminal's width in columns, or that of the variable COLUMNS. `None`: unknown, and lines are not wrapped.
pub(super) fn columns(out: impl AsFd) -> Option<usize> {
    let terminal = terminal_size_of(out).map(|(width, _)| usize::from(width.0));
    let variable = || env::var("COLUMNS").ok()?.parse().ok();
    // A smaller width is not plausible, and the indent alone would fill it.
    terminal
        .or_else(variable)
        .filter(|columns| *columns > BELOW_INDENT * 2)
}

fn options(columns: usize) -> Options<'static> {
    Options::new(columns)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

/// Wraps each line of a text. Continuation lines are indented by `hang` more than the line itself.
pub(super) fn wrap(text: &str, hang: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let lines = text.split('\n').map(|line| {
        let own_indent = line.len() - line.trim_start_matches(' ').len();
        let indent = " ".repeat((own_indent + hang).min(columns / 2));
        fill(line, options(columns).subsequent_indent(&indent))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A name in the left column and a text in the right one; the text goes below the name where the right column is too
/// narrow for it.
pub(super) fn two_columns(name: &str, text: &str, columns: Option<usize>) -> String {
    let one_line = || format!("{name}{text}").trim_end().to_owned();
    let Some(columns) = columns else {
        return one_line();
    };
    let column = display_width(name);
    if column + display_width(text) <= columns && !text.contains('\n') {
        return one_line();
    }
    let longest = text.split_whitespace().map(display_width).max();
    let needed = longest
        .unwrap_or(0)
        .min(columns - BELOW_INDENT)
        .max(MIN_TEXT_WIDTH);
    let (first, indent) = match column + needed <= columns {
        true => (String::new(), column),
        false => (name_line(name, columns), BELOW_INDENT),
    };
    let indent = " ".repeat(indent);
    let is_below = column + needed > columns;
    let paragraphs = text.split('\n').enumerate().map(|(number, paragraph)| {
        let beside_name = number == 0 && !is_below;
        let initial_indent = if beside_name { name } else { &indent };
        let options = options(columns)
            .initial_indent(initial_indent)
            .subsequent_indent(&indent);
        fill(paragraph, options)
    });
    let text = paragraphs.collect::<Vec<_>>().join("\n");
    match is_below {
        true => format!("{first}{text}"),
        false => text,
    }
}

/// A name on a line of its own, without its padding where that is too wide for the line. Empty where the name is blank.
fn name_line(name: &str, columns: usize) -> String {
    let name = name.trim_end();
    if name.is_empty() {
        return String::new();
    }
    if display_width(name) <= columns {
        return format!("{name}\n");
    }
    let words: Vec<_> = name.split_whitespace().collect();
    format!("  {}\n", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_broken_and_none_is_lost() {
        let hash = format!("sha256:{}", "0a".repeat(32));
        let text =
            format!("the public key is {hash}, and what follows it are words of the usual length");
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        for columns in [13, 20, 40, 80, 120] {
            for wrapped in [
                wrap(&text, 2, Some(columns)),
                two_columns("", &text, Some(columns)),
                two_columns(
                    "  \u{1b}[2ma name of some length\u{1b}[0m  ",
                    &text,
                    Some(columns),
                ),
            ] {
                assert!(words(&wrapped).ends_with(&words(&text)), "{wrapped}");
                let wide = wrapped.lines().filter(|line| display_width(line) > columns);
                let mut wide = wide.filter(|line| line.split_whitespace().count() > 1);
                assert!(
                    wide.all(|line| line.contains('\u{1b}')),
                    "{columns}:\n{wrapped}"
                );
            }
        }
        assert_eq!(wrap(&text, 2, None), text);
        assert_eq!(two_columns("name  ", &text, None), format!("name  {text}"));
    }

    #[test]
    fn a_text_goes_below_its_name_where_that_keeps_a_word_whole() {
        let hash = "0a".repeat(32);
        assert_eq!(
            two_columns("  fingerprint     ", &hash, Some(80)),
            format!("  fingerprint\n      {hash}")
        );
        assert_eq!(
            two_columns(
                "  name  ",
                "one two three four five six seven eight",
                Some(38)
            ),
            "  name  one two three four five six\n        seven eight"
        );
    }
}
