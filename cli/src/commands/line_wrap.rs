//! Text for a terminal as wide as it is: broken between words, and what belongs to a name stands under it. What
//! goes into a file or a pipe keeps its lines.

use std::env;
use std::os::fd::AsFd;

use terminal_size::terminal_size_of;
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, fill};

/// Text in a column that is narrower than this goes below its name.
const NARROW: usize = 30;
/// How far it is then moved in.
const BELOW: usize = 6;

/// How many columns there are. None: nobody says, and lines are as long as they are.
pub(super) fn columns(out: impl AsFd) -> Option<usize> {
    let terminal = terminal_size_of(out).map(|(width, _)| usize::from(width.0));
    let told = || env::var("COLUMNS").ok()?.parse().ok();
    // Fewer are no terminal, and nothing could be laid out in them.
    terminal
        .or_else(told)
        .filter(|columns| *columns > BELOW * 2)
}

fn options(columns: usize) -> Options<'static> {
    Options::new(columns)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

/// Breaks each line of a text; what comes after a break is moved in by so much more than the line's beginning.
pub(super) fn flow(text: &str, hang: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let lines = text.split('\n').map(|line| {
        let begins = line.len() - line.trim_start_matches(' ').len();
        let indent = " ".repeat((begins + hang).min(columns / 2));
        fill(line, options(columns).subsequent_indent(&indent))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A name in its column, and a text beside it; below it where the column that is left is too narrow for the text.
pub(super) fn beside(name: &str, text: &str, columns: Option<usize>) -> String {
    let whole = || format!("{name}{text}").trim_end().to_owned();
    let Some(columns) = columns else {
        return whole();
    };
    let column = display_width(name);
    if column + display_width(text) <= columns && !text.contains('\n') {
        return whole();
    }
    let longest = text.split_whitespace().map(display_width).max();
    let needed = longest.unwrap_or(0).min(columns - BELOW).max(NARROW);
    let (first, indent) = match column + needed <= columns {
        true => (String::new(), column),
        false => (above(name, columns), BELOW),
    };
    let indent = " ".repeat(indent);
    let is_below = column + needed > columns;
    let paragraphs = text.split('\n').enumerate().map(|(number, paragraph)| {
        let beside_name = number == 0 && !is_below;
        let begins = if beside_name { name } else { &indent };
        let options = options(columns)
            .initial_indent(begins)
            .subsequent_indent(&indent);
        fill(paragraph, options)
    });
    let text = paragraphs.collect::<Vec<_>>().join("\n");
    match is_below {
        true => format!("{first}{text}"),
        false => text,
    }
}

/// A name on a line of its own; without its columns where they are too wide. Where it is blank: no line.
fn above(name: &str, columns: usize) -> String {
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
            for laid_out in [
                flow(&text, 2, Some(columns)),
                beside("", &text, Some(columns)),
                beside(
                    "  \u{1b}[2ma name of some length\u{1b}[0m  ",
                    &text,
                    Some(columns),
                ),
            ] {
                assert!(words(&laid_out).ends_with(&words(&text)), "{laid_out}");
                let wide = laid_out
                    .lines()
                    .filter(|line| display_width(line) > columns);
                let mut wide = wide.filter(|line| line.split_whitespace().count() > 1);
                assert!(
                    wide.all(|line| line.contains('\u{1b}')),
                    "{columns}:\n{laid_out}"
                );
            }
        }
        assert_eq!(flow(&text, 2, None), text);
        assert_eq!(beside("name  ", &text, None), format!("name  {text}"));
    }

    #[test]
    fn a_text_goes_below_its_name_where_that_keeps_a_word_whole() {
        let hash = "0a".repeat(32);
        assert_eq!(
            beside("  fingerprint     ", &hash, Some(80)),
            format!("  fingerprint\n      {hash}")
        );
        assert_eq!(
            beside(
                "  name  ",
                "one two three four five six seven eight",
                Some(38)
            ),
            "  name  one two three four five six\n        seven eight"
        );
    }
}
