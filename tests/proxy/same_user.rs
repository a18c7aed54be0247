//! A front end that runs as the user to whom PIN or configuration belong, or a folder above them, could change their modes or
//! rename them, were it not for the filter of system calls. Such a proxy is not started,
//! unless the configuration accepts it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::bank::{BINARY, Bank};
use crate::common::proxy::Proxy;
use crate::common::service_users::{FRONT_END, give, mode};

pub(crate) const ACCEPTED: &str = "accept_same_user = true\n";

/// A bank whose files all belong to root, with the program and PIN that another user may read: `bin` runs the proxy.
pub(crate) struct Scene {
    pub(crate) bank: Bank,
    program: PathBuf,
}

pub(crate) fn scene() -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    Proxy::configure(&mut bank, "", "");
    let program = bank.path("hsm-mtls");
    fs::copy(BINARY.unwrap(), &program).unwrap();
    let give_pin = format!("#!/bin/sh\ncat '{}'\n", bank.token.pin_file().display());
    bank.write("pin/give", &give_pin);
    fs::copy(
        "/usr/lib/softhsm/libsofthsm2.so",
        bank.path("pin/module.so"),
    )
    .unwrap();
    for name in ["", "hsm-mtls", "pin", "pin/give"] {
        mode(&bank.path(name), 0o755);
    }
    give(&bank.path("log"), FRONT_END.1);
    give(&bank.path("caller-token"), FRONT_END.1);
    fs::create_dir_all(bank.path("state")).unwrap();
    give(&bank.path("state"), FRONT_END.1);
    let tokens = bank.token.pin_file().with_file_name("tokens");
    give(&tokens, FRONT_END.1);
    mode(bank.token.pin_file().parent().unwrap(), 0o755);
    Scene { bank, program }
}

impl Scene {
    pub(crate) fn accept(&mut self, accepted: bool) {
        self.bank.configure(|settings| {
            let text = settings.sections.replace(ACCEPTED, "");
            settings.sections = match accepted {
                true => text.replace("[proxy]\n", &format!("[proxy]\n{ACCEPTED}")),
                false => text,
            };
        });
    }

    /// As the user `bin`; a start that is not refused ends soon, since its socket's folder is root's.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let id = FRONT_END.1.to_string();
        let run = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(&self.program)
            .arg("--config")
            .arg(self.bank.config_path())
            .args(arguments)
            .output();
        unwrapped(&run.unwrap())
    }
}

fn unwrapped(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    (output.status.code(), words.join(" "))
}

/// Types what the hint says, as root.
fn type_hint(said: &str) -> String {
    let (_, command) = said.split_once("hint: `").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let command = command.replace("sudo ", "");
    let mended = Command::new("sh").args(["-c", &command]).status();
    assert!(mended.unwrap().success(), "{command}");
    command
}

const REFUSED: &str = "the front end, which parses the network, would run as user bin, who owns";

#[test]
fn what_leads_to_the_pin_does_not_belong_to_the_front_ends_user() {
    let mut scene = scene();
    let pin = scene.bank.token.pin_file();
    let [config, give_program, module] =
        ["bank.toml", "pin/give", "pin/module.so"].map(|name| scene.bank.path(name));
    let from_file = format!("{{ file = \"{}\" }}", pin.display());
    let from_program = format!("{{ command = [\"{}\"] }}", give_program.display());
    for (role, path, source, its_module) in [
        ("the PIN file", &pin, &from_file, None),
        ("the configuration file", &config, &from_file, None),
        (
            "what `command` of `pin` names",
            &give_program,
            &from_program,
            None,
        ),
        ("the module", &module, &from_file, Some(module.clone())),
    ] {
        scene.bank.configure(|settings| {
            settings.pin = source.clone();
            settings.module =
                its_module.unwrap_or_else(|| "/usr/lib/softhsm/libsofthsm2.so".into());
        });
        for root in [&config, &give_program, &module] {
            chown(root, Some(0), None).unwrap();
        }
        chown(&pin, Some(0), Some(FRONT_END.1)).unwrap();
        mode(&pin, 0o640);
        scene.accept(false);
        let (_, said) = scene.run(&["proxy"]);
        assert!(!said.contains("which parses the network"), "{role}: {said}");

        chown(path, Some(FRONT_END.1), None).unwrap();
        mode(
            path,
            fs::metadata(path).unwrap().permissions().mode() & 0o7700,
        );
        let (code, said) = scene.run(&["proxy"]);
        assert_eq!(code, Some(2), "{role}: {said}");
        let told = format!("{REFUSED} {role} ({})", path.display());
        assert!(said.contains(&told), "{role}: {said}");
        assert!(said.contains("accept_same_user = true"), "{said}");
        let (code, checked) = scene.run(&["config", "check"]);
        assert_eq!(code, Some(0), "{role}: {checked}");
        assert!(
            checked.contains("note `proxy` is refused to the user who runs this"),
            "{role}: {checked}"
        );

        scene.accept(true);
        let (_, said_then) = scene.run(&["proxy"]);
        assert!(!said_then.contains(REFUSED), "{role}: {said_then}");
        scene.accept(false);

        let command = type_hint(&said);
        assert!(command.contains(&path.display().to_string()), "{command}");
        let (_, said) = scene.run(&["proxy"]);
        assert!(!said.contains(REFUSED), "{role}: {said}");
        assert!(
            !said.contains("not safe from other users"),
            "{role}: {said}"
        );
        let (code, said) = scene.run(&["token", "list"]);
        assert_eq!(code, Some(0), "{role}: {said}");
    }
}

/// Who owns a folder can put another file in the place of root's.
#[test]
fn nor_does_a_folder_or_a_link_on_the_way_to_it() {
    let mut scene = scene();
    let pin = scene.bank.token.pin_file();
    chown(&pin, Some(0), Some(FRONT_END.1)).unwrap();
    mode(&pin, 0o640);
    let [config, give_program, module] =
        ["bank.toml", "pin/give", "pin/module.so"].map(|name| scene.bank.path(name));
    let link = scene.bank.path("pin/link");
    symlink(&pin, &link).unwrap();
    lchown(&link, Some(FRONT_END.1), None).unwrap();
    let from_file = format!("{{ file = \"{}\" }}", pin.display());
    let from_program = format!("{{ command = [\"{}\"] }}", give_program.display());
    let from_link = format!("{{ file = \"{}\" }}", link.display());
    let folder = |path: &Path| path.parent().unwrap().to_owned();
    let softhsm = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
    for (role, path, at, source, its_module) in [
        ("the PIN file", &link, link.clone(), &from_link, &softhsm),
        ("the PIN file", &pin, folder(&pin), &from_file, &softhsm),
        (
            "the configuration file",
            &config,
            folder(&config),
            &from_file,
            &softhsm,
        ),
        (
            "what `command` of `pin` names",
            &give_program,
            folder(&give_program),
            &from_program,
            &softhsm,
        ),
        ("the module", &module, folder(&module), &from_file, &module),
    ] {
        scene.bank.configure(|settings| {
            settings.pin = source.clone();
            settings.module = its_module.clone();
        });
        let what = if at == link { "link" } else { "folder" };
        lchown(&at, Some(FRONT_END.1), None).unwrap();
        if what == "folder" {
            mode(&at, 0o700);
        }
        scene.accept(false);
        let (code, said) = scene.run(&["proxy"]);
        assert_eq!(code, Some(2), "{role}: {said}");
        let (at, path) = (at.display(), path.display());
        let told = format!("{REFUSED} the {what} {at} on the way to {role} ({path})");
        assert!(said.contains(&told), "{role}: {said}");

        scene.accept(true);
        // In a folder of its own it would start.
        let (code, said_then) = scene.run(&["config", "check"]);
        assert_eq!(code, Some(0), "{role}: {said_then}");
        assert!(!said_then.contains("is refused"), "{role}: {said_then}");
        scene.accept(false);

        type_hint(&said);
        let (_, said) = scene.run(&["proxy"]);
        assert!(
            said.contains("hub.sock"),
            "{role}: it goes on to its sockets: {said}"
        );
    }
}

/// The command would give the folder of what the service writes to root.
#[test]
fn a_folder_that_the_service_writes_to_stays_its_own() {
    let mut scene = scene();
    chown(scene.bank.token.pin_file(), Some(0), Some(FRONT_END.1)).unwrap();
    mode(&scene.bank.token.pin_file(), 0o640);
    scene.bank.configure(|settings| {
        settings.sections.push_str(&format!(
            "\n[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
            settings
                .pin
                .split('"')
                .nth(1)
                .unwrap()
                .replace("/pin", "/ledger.jsonl")
        ));
    });
    let folder = scene.bank.token.pin_file().parent().unwrap().to_owned();
    chown(&folder, Some(FRONT_END.1), None).unwrap();
    scene.accept(false);
    let (code, said) = scene.run(&["proxy"]);
    assert_eq!(code, Some(2), "{said}");
    let told = format!(
        "hint: move the PIN file out of {} into a folder of root",
        folder.display()
    );
    assert!(said.contains(&told) && !said.contains("chown"), "{said}");
}

/// As systemd mounts credentials: their owner cannot change them either.
#[test]
fn a_file_on_a_read_only_mount_cannot_be_changed_by_its_owner() {
    let mut scene = scene();
    let credentials = scene.bank.token.pin_file().with_file_name("credentials");
    fs::create_dir(&credentials).unwrap();
    let pin = fs::read(scene.bank.token.pin_file()).unwrap();
    fs::write(scene.bank.path("the-pin"), pin).unwrap();
    scene
        .bank
        .configure(|settings| settings.pin = "{ credential = \"hsm-pin\" }".to_owned());
    scene.accept(false);
    let started = |mount: &str| {
        let script = "mount -t tmpfs -o mode=755,uid=2 tmpfs \"$1\" && install -o bin -m 400 \"$2\" \"$1/hsm-pin\" && \
                      mount -o \"remount,$3\" \"$1\" && shift 3 && exec setpriv --reuid=2 --regid=2 --clear-groups \"$@\"";
        let run = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([&credentials, &scene.bank.path("the-pin")])
            .args([Path::new(mount), &scene.program])
            .arg("--config")
            .arg(scene.bank.config_path())
            .arg("proxy")
            .env("CREDENTIALS_DIRECTORY", &credentials)
            .output();
        unwrapped(&run.unwrap())
    };
    let (code, said) = started("rw");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(&format!("{REFUSED} the PIN's credential")),
        "{said}"
    );
    let (_, said) = started("ro");
    assert!(!said.contains(REFUSED), "{said}");
    assert!(
        said.contains("hub.sock"),
        "it goes on to its sockets: {said}"
    );
}
