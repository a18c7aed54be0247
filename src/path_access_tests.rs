//! Obstacles at each component of a path. Denied access is tested in tests/error_messages/file_access.rs by a user other than root:
//! root has access to everything.

use std::os::unix::fs::symlink;

use super::*;

fn message(path: &Path) -> String {
    let found = obstacle(path, &[Use::Read]);
    found.map_or_else(String::new, |found| found.to_string())
}

#[test]
fn the_missing_component_is_named() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = fs::canonicalize(folder.path())?;
    let at = |name: &str| root.join(name);
    fs::write(at("file"), "")?;
    assert_eq!(message(&at("file")), "");
    assert_eq!(
        message(&at("none")),
        format!("{} is not there", at("none").display())
    );
    assert_eq!(
        message(&at("none/below/file")),
        format!("the folder {} is not there", at("none").display())
    );
    assert_eq!(
        message(&at("file/below")),
        format!("{} is not a folder", at("file").display())
    );
    symlink("none", at("dangling"))?;
    assert_eq!(
        message(&at("dangling")),
        format!(
            "{} is a link to {}, which is not there",
            at("dangling").display(),
            at("none").display()
        )
    );
    assert!(message(&at("dangling/file")).contains("which is not there"));
    symlink("round", at("round"))?;
    assert!(message(&at("round")).contains("leads back to itself"));
    symlink("file", at("link"))?;
    assert_eq!(message(&at("link")), "");
    assert_eq!(other_than_file(&fs::metadata(&root)?), Some("a folder"));
    assert_eq!(
        other_than_file(&fs::metadata("/dev/null")?),
        Some("a device")
    );
    Ok(())
}
