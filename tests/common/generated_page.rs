//! Pages of docs/ that are written by a run: where a page has its place for the results.

use std::fs;
use std::path::Path;

/// Puts the text between the two marks of this make target.
pub fn write(page: &Path, target: &str, text: &str) {
    let begin = format!("<!-- written by make {target}: begin -->");
    let end = format!("<!-- written by make {target}: end -->");
    let before = fs::read_to_string(page).expect("the page");
    let (head, rest) = before.split_once(&begin).expect("where it begins");
    let (_, tail) = rest.split_once(&end).expect("where it ends");
    fs::write(page, format!("{head}{begin}\n{text}\n{end}{tail}")).expect("the page");
}
