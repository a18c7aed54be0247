//! A wrong PIN is no other PIN under another name: paths are spelled differently, links lead to the same file, a variable or a
//! program gives the same. The calls are counted at the module.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::bank::Run;
use crate::common::trust_framework::write_file;
use crate::common::wrong_pin::with_wrong_pin;

fn said(run: &Run, what: &str) {
    assert!(run.stderr.contains(what), "{what}: {run:?}");
}

/// The token counts wrong PINs for the role, whatever the source of each is called.
#[test]
fn one_wrong_pin_under_five_names_is_sent_once_and_a_second_source_once() {
    let (mut bank, chaos, _hub, wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    let folder = wrong.parent().unwrap().to_owned();
    let link = bank.path("link-to-the-pin");
    symlink(&wrong, &link).unwrap();
    let hard_link = bank.path("another-name");
    fs::hard_link(&wrong, &hard_link).unwrap();
    chaos.run(&bank, &["verify"]).expect(4);
    let dotted = folder.join("./wrong-pin").display().to_string();
    for path in [dotted, format!("{}//wrong-pin", folder.display())] {
        bank.configure(|settings| settings.pin = format!("{{ file = \"{path}\" }}"));
        said(&chaos.run(&bank, &["verify"]).expect(4), "no PIN was sent");
    }
    for path in [&link, &hard_link, &wrong] {
        bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", path.display()));
        said(&chaos.run(&bank, &["verify"]).expect(4), "no PIN was sent");
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    // Another source may hold another PIN: it has its one try. Then two were refused in a row.
    bank.configure(|settings| settings.pin = "{ env = \"WRONG_PIN\" }".to_owned());
    let variable = [("WRONG_PIN", "wrong")];
    chaos.run_with(&bank, &["verify"], &variable).expect(4);
    assert_eq!(chaos.calls("C_Login"), 2);
    write_file(&wrong, "wrong", 0o600);
    let program = bank.write("print-pin", "#!/bin/sh\necho wrong\n");
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    for source in [
        format!("{{ file = \"{}\" }}", wrong.display()),
        format!("{{ command = [\"{}\"] }}", program.display()),
        "{ env = \"ANOTHER\" }".to_owned(),
    ] {
        bank.configure(|settings| settings.pin = source);
        let blocked = chaos.run_with(&bank, &["verify"], &[("ANOTHER", "wrong")]);
        said(&blocked.expect(4), "refused 2 PINs of this role in a row");
    }
    assert_eq!(chaos.calls("C_Login"), 2);
}
