//! The folder where refused PINs are remembered: who can rename it, or a folder above it, makes the guard forget.

use std::fs;
use std::os::unix::fs::chown;

use crate::common::wrong_pin::with_wrong_pin;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

/// Renamed between two starts, it would allow a further try of a wrong PIN with each.
#[test]
fn a_folder_above_it_that_belongs_to_another_user_is_refused_before_a_login() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    bank.configure(|settings| settings.state_dir = "theirs/state".to_owned());
    let above = bank.path("theirs");
    fs::create_dir(&above).unwrap();
    chown(&above, Some(NOBODY), None).unwrap();
    for name in ["first", "second", "third"] {
        let run = chaos.run(&bank, &["key", "list"]).expect(2);
        let told = format!(
            "the folder {} (nobody:root, mode 0755) belongs to another user",
            above.display()
        );
        assert!(run.stderr.contains(&told), "{run:?}");
        assert!(
            run.stderr
                .contains(&format!("`chown root {}`", above.display())),
            "{run:?}"
        );
        // What the other user does meanwhile; where nothing was written there, it fails.
        let _ = fs::rename(above.join("state"), above.join(name));
    }
    assert_eq!(chaos.calls("C_Login"), 0);
    chown(&above, Some(0), None).unwrap();
    for _ in 0..3 {
        chaos.run(&bank, &["key", "list"]).expect(4);
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}
