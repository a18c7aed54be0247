//! JSON of ours, held against its schema in `docs/` by a validator that is not ours.

use std::path::Path;
use std::process::{Command, Output};

use super::bank::Bank;

/// Runs the validator on a file of the bank with this name and content.
pub fn validate(bank: &Bank, schema: &str, name: &str, json: &str) -> Output {
    let file = bank.write(name, json);
    let schema = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(schema);
    // Debian's own: `make test` installs the package for it.
    Command::new("/usr/bin/python3")
        .args(["-W", "ignore", "-m", "jsonschema", "-i"])
        .args([&file, &schema])
        .output()
        .expect("python3 with jsonschema: install `python3-jsonschema` (make test does)")
}
