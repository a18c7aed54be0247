//! What is in the way, at each place of it. What is closed is tried by another user than root, in
//! tests/wrong_turns_reach.rs: root passes everywhere.

use std::os::unix::fs::symlink;

use super::*;

fn said(path: &Path) -> String {
    let found = obstacle(path, &[Use::Read]);
    found.map_or_else(String::new, |found| found.to_string())
}

#[test]
fn the_place_that_is_missing_is_named() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = fs::canonicalize(folder.path())?;
    let at = |name: &str| root.join(name);
    fs::write(at("file"), "")?;
    assert_eq!(said(&at("file")), "");
    assert_eq!(
        said(&at("none")),
        format!("{} is not there", at("none").display())
    );
    assert_eq!(
        said(&at("none/below/file")),
        format!("the folder {} is not there", at("none").display())
    );
    assert_eq!(
        said(&at("file/below")),
        format!("{} is not a folder", at("file").display())
    );
    symlink("none", at("dangling"))?;
    assert_eq!(
        said(&at("dangling")),
        format!(
            "{} is a link to {}, which is not there",
            at("dangling").display(),
            at("none").display()
        )
    );
    assert!(said(&at("dangling/file")).contains("which is not there"));
    symlink("round", at("round"))?;
    assert!(said(&at("round")).contains("leads back to itself"));
    symlink("file", at("link"))?;
    assert_eq!(said(&at("link")), "");
    assert_eq!(no_file(&fs::metadata(&root)?), Some("a folder"));
    assert_eq!(no_file(&fs::metadata("/dev/null")?), Some("a device"));
    Ok(())
}
