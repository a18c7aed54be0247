//! What the token says of its PINs, and who could change the module, is found by `audit`. The flags are
//! the fault-injecting module's: SoftHSM sets none of them for the security officer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::audit::{Audited, audit, bank, mode};
use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::softhsm::MODULE;

const AUDIT: [&str; 4] = ["audit", "--json", "--profile", "production"];

/// A module of the bank's own, in a folder of its own: what is done to it is done to no other test's.
fn copied(bank: &Bank, module: &Path) -> PathBuf {
    let folder = bank.path("lib");
    fs::create_dir_all(&folder).unwrap();
    mode(&folder, 0o755);
    let copy = folder.join(module.file_name().unwrap());
    fs::copy(module, &copy).unwrap();
    mode(&copy, 0o755);
    copy
}

fn with_key() -> Bank {
    let bank = bank();
    bank.run(&["key", "generate"]).expect(0);
    bank
}

#[test]
fn flags_that_warn_of_a_pin_are_found() {
    let mut bank = with_key();
    let chaos = Chaos::between(&mut bank, "");
    let module = copied(&bank, bank.module());
    bank.configure(|settings| settings.module = module);
    let with = |plan: &str| {
        chaos.plan(plan);
        Audited::of(chaos.run(&bank, &AUDIT))
    };
    with("").golden("chaos_token_as_it_should_be", &[]);
    for flag in [
        "SO_PIN_COUNT_LOW",
        "SO_PIN_FINAL_TRY",
        "SO_PIN_LOCKED",
        "SO_PIN_TO_BE_CHANGED",
    ] {
        let golden = format!("token_{}", flag.to_lowercase());
        with(&format!("flag CKF_{flag}")).golden(&golden, &["token.so-pin"]);
    }
    // The PIN guard sends no PIN then: no key is seen, and the audit ends as the guard does.
    for flag in [
        "USER_PIN_COUNT_LOW",
        "USER_PIN_FINAL_TRY",
        "USER_PIN_LOCKED",
        "USER_PIN_TO_BE_CHANGED",
    ] {
        let golden = format!("token_{}", flag.to_lowercase());
        with(&format!("flag CKF_{flag}")).golden(&golden, &["token.user-pin"]);
    }
    assert_eq!(
        chaos.calls("C_Login"),
        5,
        "once where no flag of the user's PIN is set"
    );
}

#[test]
fn a_module_that_others_can_change_is_found() {
    let mut bank = with_key();
    let module = copied(&bank, Path::new(MODULE));
    bank.configure(|settings| settings.module = module.clone());
    audit(&bank, &[]).golden("module_copied", &[]);
    let folder = module.parent().unwrap();
    for (place, bits, golden) in [
        (module.as_path(), 0o775, "module_group_writable"),
        (&module, 0o757, "module_world_writable"),
        (folder, 0o775, "module_folder_group_writable"),
        (folder, 0o777, "module_folder_world_writable"),
        (folder, 0o1777, "module_folder_sticky"),
    ] {
        mode(place, bits);
        audit(&bank, &[]).golden(golden, &[]);
        mode(place, 0o755);
    }
}

#[test]
fn a_library_that_others_can_change_is_found() {
    let mut bank = with_key();
    let chaos = Chaos::between(&mut bank, "");
    let module = copied(&bank, bank.module());
    bank.configure(|settings| settings.module = module);
    let library = bank.path("wrapped/libsofthsm2.so");
    fs::create_dir(library.parent().unwrap()).unwrap();
    fs::copy(MODULE, &library).unwrap();
    mode(&library, 0o755);
    let run = || {
        let wrapped = [("CHAOS_TOKEN_MODULE", library.to_str().unwrap())];
        Audited::of(chaos.run_with(&bank, &AUDIT, &wrapped))
    };
    run().golden("library_as_it_should_be", &[]);
    mode(&library, 0o777);
    let audited = run();
    audited.golden("library_world_writable", &[]);
    let said = audited.said("module.libraries");
    assert!(said.contains("everybody may write to"), "{said}");
}
