//! The rule of ownership on real files, and that each command it prints mends what it names.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

use super::*;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

/// A folder `top` with the folder `inner` and the file `inner/file`.
struct Tree {
    top: tempfile::TempDir,
    root: PathBuf,
}

impl Tree {
    fn new() -> io::Result<Self> {
        let top = tempfile::tempdir()?;
        let root = fs::canonicalize(top.path())?;
        fs::create_dir(root.join("inner"))?;
        fs::write(root.join("inner/file"), "")?;
        let tree = Self { top, root };
        tree.mode("", 0o755)?;
        tree.mode("inner", 0o755)?;
        tree.mode("inner/file", 0o644)?;
        Ok(tree)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn mode(&self, name: &str, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode))
    }

    /// The faults of a path below it, with the folder's own name left out.
    fn told(&self, name: &str, protection: Protection) -> Vec<String> {
        let root = format!("{}/", self.top.path().display());
        let own = accounts::effective_user();
        faults(&self.path(name), protection)
            .iter()
            .map(|fault| {
                let text = format!("{fault} => {}", fault.advice());
                let text = text
                    .replace(&root, "")
                    .replace(&format!("{own}:{own}"), "own");
                text.replace(&format!("chown {own}"), "chown OWN")
                    .replace(&format!("chown -h {own}"), "chown -h OWN")
            })
            .collect()
    }

    /// Runs the commands of all faults, and expects that none is left.
    fn mend(&self, name: &str, protection: Protection) {
        for fault in faults(&self.path(name), protection) {
            let command = fault.command().expect("a command");
            let done = Command::new("sh").args(["-c", &command]).status();
            assert!(done.is_ok_and(|status| status.success()), "{command}");
        }
        assert_eq!(faults(&self.path(name), protection), [], "{name}");
    }
}

#[test]
fn each_cause_has_its_command() -> io::Result<()> {
    let tree = Tree::new()?;
    let cases = [
        (
            "inner/file",
            0o646,
            "inner/file (own, mode 0646): everybody may write to it => `chmod o-w inner/file`",
        ),
        (
            "inner/file",
            0o664,
            "inner/file (own, mode 0664): its group may write to it => `chmod g-w inner/file`",
        ),
        (
            "inner/file",
            0o666,
            "inner/file (own, mode 0666): everybody may write to it => `chmod go-w inner/file`",
        ),
        (
            "inner",
            0o757,
            "the folder inner (own, mode 0757): everybody may write to it => `chmod o-w inner`",
        ),
    ];
    for (name, mode, expected) in cases {
        // A user's private group is nobody else.
        let is_private =
            accounts::private_group(geteuid().as_raw()).is_some() && mode & 0o022 == 0o020;
        let expected: &[&str] = if is_private { &[] } else { &[expected] };
        tree.mode(name, mode)?;
        assert_eq!(tree.told("inner/file", Protection::Unchanged), expected);
        tree.mend("inner/file", Protection::Unchanged);
    }
    tree.mode("inner/file", 0o640)?;
    assert_eq!(
        tree.told("inner/file", Protection::Secret),
        ["inner/file (own, mode 0640): its group may read it => `chmod g-rwx inner/file`"]
    );
    tree.mode("inner/file", 0o624)?;
    assert_eq!(
        tree.told("inner/file", Protection::Secret),
        [
            "inner/file (own, mode 0624): its group may write to it, and everybody may read it => `chmod go-rwx inner/file`"
        ]
    );
    tree.mend("inner/file", Protection::Secret);
    tree.mode("inner/file", 0o660)?;
    assert!(
        tree.told("inner/file", Protection::SharedByGroup)
            .is_empty()
    );
    Ok(())
}

#[test]
fn a_link_in_the_middle_of_a_path_is_judged() -> io::Result<()> {
    let tree = Tree::new()?;
    for name in ["open", "ours"] {
        fs::create_dir(tree.path(name))?;
    }
    tree.mode("open", 0o777)?;
    // ours/file -> open/link -> inner/file: neither end lies in the open folder.
    symlink("../inner/file", tree.path("open/link"))?;
    symlink("../open/link", tree.path("ours/file"))?;
    let open = "the folder open (own, mode 0777): everybody may write to it => `chmod go-w open`";
    for protection in [Protection::Unchanged, Protection::Place] {
        assert_eq!(tree.told("ours/file", protection), [open]);
    }
    assert!(
        tree.told("ours/../inner/./file", Protection::Unchanged)
            .is_empty()
    );
    // Links of this user in a sticky folder are safe; the folder itself is not.
    tree.mode("open", 0o1777)?;
    assert!(tree.told("ours/file", Protection::Unchanged).is_empty());
    assert_eq!(tree.told("open", Protection::Unchanged).len(), 1);
    assert!(tree.told("open", Protection::Place).is_empty());
    symlink("round", tree.path("round"))?;
    assert!(tree.told("round", Protection::Unchanged).is_empty());
    Ok(())
}

#[test]
fn a_path_that_is_missing_is_judged_by_the_folder_it_would_be_made_in() -> io::Result<()> {
    let tree = Tree::new()?;
    symlink("../inner/gone/file", tree.path("inner/dangling"))?;
    assert!(
        tree.told("inner/gone/file", Protection::Unchanged)
            .is_empty()
    );
    tree.mode("inner", 0o1777)?;
    let sticky = "the folder inner (own, mode 1777): everybody may write to it, and inner/gone is not there yet => `chmod go-w inner`";
    for name in ["inner/gone", "inner/gone/file", "inner/dangling"] {
        assert_eq!(tree.told(name, Protection::Unchanged), [sticky], "{name}");
    }
    assert!(tree.told("inner/gone", Protection::Place).is_empty());
    tree.mend("inner/dangling", Protection::Unchanged);
    let shared = faults(Path::new("/tmp/hsm-mtls-not-there"), Protection::Unchanged);
    let advice: Vec<_> = shared.iter().map(PathFault::advice).collect();
    assert_eq!(advice.len(), 1, "{shared:?}");
    assert!(
        advice.concat().contains("`mkdir -m 700 /tmp/NAME`"),
        "{advice:?}"
    );
    Ok(())
}

#[test]
fn a_socket_is_judged_by_its_folder() -> io::Result<()> {
    let tree = Tree::new()?;
    tree.mode("inner/file", 0o666)?;
    assert!(tree.told("inner/file", Protection::Socket).is_empty());
    tree.mode("inner", 0o1777)?;
    assert_eq!(tree.told("inner/file", Protection::Socket).len(), 1);
    tree.mend("inner/file", Protection::Socket);
    Ok(())
}

/// An ACL is shown by the mode as the group's bits, and `chmod` changes its mask.
#[test]
fn an_access_control_list_is_seen_and_mended() -> io::Result<()> {
    let tree = Tree::new()?;
    let entry = |tag: u16, permissions: u16, id: u32| {
        [
            &tag.to_le_bytes()[..],
            &permissions.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    // acl(5): version 2; the owner rw, the user nobody rw, the group r, the mask rw, others r.
    let list = [
        2u32.to_le_bytes().to_vec(),
        entry(0x01, 6, u32::MAX),
        entry(0x02, 6, NOBODY),
        entry(0x04, 4, u32::MAX),
        entry(0x10, 6, u32::MAX),
        entry(0x20, 4, u32::MAX),
    ]
    .concat();
    let path = tree.path("inner/file");
    setxattr(&path, "system.posix_acl_access", &list, XattrFlags::empty())?;
    assert_eq!(
        tree.told("inner/file", Protection::Unchanged),
        [
            "inner/file (own, mode 0664): its group, or whom its access control list names, may write to it => `chmod g-w inner/file`"
        ]
    );
    tree.mend("inner/file", Protection::Unchanged);
    Ok(())
}
