//! Obstacles on the way to the module and between environments. What the operator is told is pinned word by
//! word: a message that changes is seen in review.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::bank::Bank;
use crate::common::error_report;
use crate::common::softhsm::MODULE;
use crate::common::trust_framework::Kind;
use insta::assert_snapshot;

/// What `token check` says with this module.
fn with_module(module: &Path) -> String {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.module = module.to_owned());
    report_of(&bank, &["token", "check"])
}

fn report_of(bank: &Bank, arguments: &[&str]) -> String {
    error_report::of(bank, &bank.run(&[arguments, &["--json"]].concat()))
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_module_is_missing() {
    let report = with_module(Path::new("/opt/hsm/lib/libvendor.so"));
    assert_snapshot!(report, @r#"
    exit 3
    step module
    the PKCS#11 module /opt/hsm/lib/libvendor.so cannot be read: No such file or directory (os error 2)
    hint: install the HSM vendor's client (SoftHSM: `apt-get install softhsm2`) and write its path to `module`
    "#);
}

#[test]
fn the_module_is_not_absolute() {
    let report = with_module(Path::new("libsofthsm2.so"));
    assert_snapshot!(report, @r#"
    exit 2
    <bank>/bank.toml, line 5, field `module`: write the module's absolute path: a bare name would load whatever the linker finds first
    hint: correct the field, then run `hsm-mtls --config <bank>/bank.toml config check`
    "#);
}

#[test]
fn the_module_is_a_folder() {
    let report = with_module(Path::new("/usr/lib/softhsm"));
    assert_snapshot!(report, @r#"
    exit 3
    step module
    /usr/lib/softhsm does not load as a PKCS#11 module: it is not a file
    hint: `module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks
    "#);
}

#[test]
fn the_module_is_a_text_file() {
    let mut bank = Bank::new();
    let text = bank.write("README", "how to install the client\n");
    bank.configure(|settings| settings.module = text);
    assert_snapshot!(report_of(&bank, &["token", "check"]), @r#"
    exit 3
    step module
    <bank>/README does not load as a PKCS#11 module: <bank>/README: file too short
    hint: `module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks
    "#);
}

/// The C library of this process: every machine that runs this test has one.
fn ordinary_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_once('/'));
    let mut paths = paths.map(|(_, path)| PathBuf::from(format!("/{path}")));
    let is_libc = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("libc.so") || name.starts_with("libc-"))
    };
    paths.find(is_libc).expect("a C library")
}

#[test]
fn the_module_is_a_library_of_another_kind() {
    let library = ordinary_library();
    let report = with_module(&library).replace(library.to_str().unwrap(), "<libc>");
    assert_snapshot!(report, @r#"
    exit 3
    step module
    <libc> does not load as a PKCS#11 module: the module has no symbol C_GetFunctionList
    hint: `module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks
    "#);
}

#[test]
fn others_may_write_to_the_module() {
    let mut bank = Bank::new();
    let module = bank.path("libmodule.so");
    fs::copy(MODULE, &module).unwrap();
    chmod(&module, 0o666);
    bank.configure(|settings| settings.module = module.clone());
    assert_snapshot!(report_of(&bank, &["token", "check"]), @r#"
    exit 2
    <bank>/bank.toml: not safe from other users: the module: <bank>/libmodule.so (root:root, mode 0666): everybody may write to it
    hint: `chmod go-w <bank>/libmodule.so`; see whether somebody has changed what is there, then run `hsm-mtls --config <bank>/bank.toml config check`
    "#);
    chmod(&module, 0o644);
    bank.run(&["token", "list"]).expect(0);
}

/// The file and its folders are as they must be, and so is the link that is configured.
#[test]
fn others_may_turn_a_link_on_the_way_to_the_module() {
    let mut bank = Bank::new();
    for name in ["client", "current"] {
        fs::create_dir(bank.path(name)).unwrap();
        chmod(&bank.path(name), 0o755);
    }
    symlink(MODULE, bank.path("current/module.so")).unwrap();
    let named = bank.path("client/libmodule.so");
    symlink("../current/module.so", &named).unwrap();
    bank.configure(|settings| settings.module = named);
    bank.run(&["token", "list"]).expect(0);
    chmod(&bank.path("current"), 0o777);
    assert_snapshot!(report_of(&bank, &["token", "check"]), @r#"
    exit 2
    <bank>/bank.toml: not safe from other users: the module (<bank>/client/libmodule.so): the folder <bank>/current (root:root, mode 0777): everybody may write to it
    hint: `chmod go-w <bank>/current`; see whether somebody has changed what is there, then run `hsm-mtls --config <bank>/bank.toml config check`
    "#);
}

#[test]
fn others_may_write_to_a_folder_above_the_module() {
    let mut bank = Bank::new();
    let folder = bank.path("client");
    fs::create_dir_all(folder.join("lib")).unwrap();
    let module = folder.join("lib/libmodule.so");
    fs::copy(MODULE, &module).unwrap();
    chmod(&folder, 0o777);
    bank.configure(|settings| settings.module = module);
    assert_snapshot!(report_of(&bank, &["token", "check"]), @r#"
    exit 2
    <bank>/bank.toml: not safe from other users: the module (<bank>/client/lib/libmodule.so): the folder <bank>/client (root:root, mode 0777): everybody may write to it
    hint: `chmod go-w <bank>/client`; see whether somebody has changed what is there, then run `hsm-mtls --config <bank>/bank.toml config check`
    "#);
    chmod(&folder, 0o755);
    bank.run(&["token", "list"]).expect(0);
}

#[test]
fn a_key_is_in_both_environments() {
    let (preprod, production) = (Bank::of(Kind::Sandbox), Bank::of(Kind::Production));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = preprod.write("exported.pem", &key.serialize_pem());
    preprod.token.import(&pem, "c3", "01");
    production.token.import(&pem, "c3", "02");
    let files = [preprod.config_path(), production.config_path()];
    let files = files.each_ref().map(|path| path.to_str().unwrap());
    let run = preprod.run(&["config", "check", files[0], files[1]]);
    let (_, verdict) = run.stdout.split_once("\n\n").unwrap();
    let verdict = verdict.replace(production.folder().to_str().unwrap(), "<production>");
    let said = format!("exit {}\n{}", run.code, verdict.trim_end());
    assert_snapshot!(error_report::plain(&preprod, &said), @r#"
    exit 2
    the key sha256:<hash> is in two environments; the scheme forbids it, so make one of them anew:
      preprod: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private in <bank>/bank.toml
      production: pkcs11:token=lfi;serial=<serial 2>;object=c3;id=<id 2>;type=private in <production>/bank.toml

    keys compared: 1 in <bank>/bank.toml (preprod), 1 in <production>/bank.toml (production)
    "#);
}
