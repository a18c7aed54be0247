//! What `deploy/` ships: units that systemd understands, hardened, and an example configuration that fits
//! them. That the package installs and serves is shown by `deploy/try.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::proxy::Proxy;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress};
use hsm_mtls::internal::config::pin::PinSource;
use tempfile::TempDir;

/// From 0 (shut in) to 10. What is left of it: the network, callers' uids, and who says READY=1.
const EXPOSURE: f64 = 1.4;
/// The same with the drop-in for a start as root, of the supervisor.
const EXPOSURE_AS_ROOT: f64 = 2.2;
const SERVICE: &str = "hsm-mtls-proxy.service";
const ROOT_START: &str = "root-start.conf";
const SOCKET: &str = "hsm-mtls-proxy.socket";
const TRUST: &str = "hsm-mtls-trust.service";
const TRUST_TIMER: &str = "hsm-mtls-trust.timer";
/// Of what fetches the CRLs: the network is left of it.
const EXPOSURE_OF_TRUST: f64 = 1.5;
const STATUS: &str = "hsm-mtls-status.service";
const STATUS_TIMER: &str = "hsm-mtls-status.timer";
/// Of what looks at everything: the ports of this machine are left of it.
const EXPOSURE_OF_STATUS: f64 = 1.1;
/// How long the end of a process waits for a ledger's `head`: docs/ledger.md.
const HEAD: Duration = Duration::from_secs(12);

fn shipped(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("deploy")
        .join(name)
}

/// What a unit says to `key`, in the order of its lines. Comments say nothing.
fn said(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(shipped(unit)).unwrap();
    let values = text.lines().filter_map(|line| line.split_once('='));
    values
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn said_once(unit: &str, key: &str) -> String {
    let [value] = said(unit, key).try_into().unwrap_or_else(|other| {
        panic!("{unit} says {key} not once: {other:?}");
    });
    value
}

/// The units as they are shipped, with the program where it was built: systemd looks for it.
fn units() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let installed = "/usr/bin/hsm-mtls";
    let service = fs::read_to_string(shipped(SERVICE)).unwrap();
    assert!(service.contains(&format!("\nExecStart={installed} proxy\n")));
    let service = service.replace(installed, env!("CARGO_BIN_EXE_hsm-mtls"));
    fs::write(folder.path().join(SERVICE), service).unwrap();
    fs::copy(shipped(SOCKET), folder.path().join(SOCKET)).unwrap();
    let trust = fs::read_to_string(shipped(TRUST)).unwrap();
    assert!(trust.contains(&format!("\nExecStart={installed} trust update --crls\n")));
    let trust = trust.replace(installed, env!("CARGO_BIN_EXE_hsm-mtls"));
    fs::write(folder.path().join(TRUST), trust).unwrap();
    fs::copy(shipped(TRUST_TIMER), folder.path().join(TRUST_TIMER)).unwrap();
    let status = fs::read_to_string(shipped(STATUS)).unwrap();
    let status = status.replace(installed, env!("CARGO_BIN_EXE_hsm-mtls"));
    fs::write(folder.path().join(STATUS), status).unwrap();
    fs::copy(shipped(STATUS_TIMER), folder.path().join(STATUS_TIMER)).unwrap();
    folder
}

#[test]
fn a_transient_failure_has_an_exit_code_that_restarts_the_unit() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    Proxy::configure(&mut bank, "", "");
    let not_again = said_once(SERVICE, "RestartPreventExitStatus");
    let ends = |bank: &Bank, again: bool, said: &str| {
        let run = bank.run(&["proxy"]);
        assert!(run.stderr.contains(said), "{run:?}");
        let refused = not_again
            .split(' ')
            .any(|code| code == run.code.to_string());
        assert!(run.code != 0 && refused != again, "{again}: {run:?}");
    };
    // The program asks a vault that is not up yet. Nothing was sent to the token.
    let before = format!("{{ file = \"{}\" }}", bank.token.pin_file().display());
    for program in ["/bin/false", "/nothing/here"] {
        bank.configure(|settings| settings.pin = format!("{{ command = [\"{program}\"] }}"));
        ends(&bank, true, "no PIN from");
    }
    // Whoever puts it there has not done so yet.
    let pin = bank.token.pin_file().with_file_name("later");
    let from_a_file = format!("{{ file = \"{}\" }}", pin.display());
    bank.configure(|settings| settings.pin = from_a_file);
    ends(&bank, true, "no PIN from");
    // A mistake of somebody's: no restart mends it.
    fs::write(&pin, "").unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    ends(&bank, false, "no PIN from");
    bank.configure(|settings| settings.pin = "{ env = \"HSM_PIN\" }".to_owned());
    ends(&bank, false, "is no source of the PIN here");

    // Another process holds the ledger.
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    bank.configure(|settings| {
        settings.pin = before;
        settings.sections.push_str(&format!(
            "\n[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
            ledger.display()
        ));
    });
    bank.run(&["csr"]).expect(0);
    let held = fs::File::open(&ledger).unwrap();
    held.lock().unwrap();
    ends(&bank, true, "was locked for");
    drop(held);

    // The token is not there.
    bank.configure(|settings| settings.token_uri = "pkcs11:token=another".to_owned());
    ends(&bank, true, "token");
}

/// The line of the unit that looks at everything is one that the command takes, and its exit code is the unit's.
#[test]
fn the_unit_of_the_status_runs_without_pin_and_module() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| {
        settings.module = "/nothing/here.so".into();
        settings.pin = "{ credential = \"hsm-pin\" }".to_owned();
    });
    let line = said_once(STATUS, "ExecStart");
    let arguments: Vec<_> = line.split(' ').skip(1).collect();
    let run = bank.run(&arguments).expect(3);
    let said = "hsm-mtls UNKNOWN: preprod: token: not asked: --no-token | 'preprod.c3.certificate'=394;60:;30:\n";
    assert_eq!(run.stdout, said);
}

/// What systemd says of the units: an unknown key is a remark, and no other exit code.
fn verify(folder: &Path) -> String {
    let done = Command::new("systemd-analyze")
        .args(["--man=no", "verify"])
        .arg(folder.join(SOCKET))
        .arg(folder.join(SERVICE))
        .arg(folder.join(TRUST))
        .arg(folder.join(TRUST_TIMER))
        .arg(folder.join(STATUS))
        .arg(folder.join(STATUS_TIMER))
        .output()
        .expect("systemd-analyze, of Debian's package systemd");
    let said = String::from_utf8(done.stderr).unwrap();
    // Of units of this machine systemd may say what it likes.
    let ours = |line: &&str| line.contains("hsm-mtls") || line.contains(folder.to_str().unwrap());
    let ours: Vec<&str> = said.lines().filter(ours).collect();
    assert!(done.status.success() || !said.is_empty(), "{}", done.status);
    ours.join("\n")
}

#[test]
fn systemd_analyze_accepts_the_units() {
    let folder = units();
    assert_eq!(verify(folder.path()), "");

    // It would say so.
    let service = folder.path().join(SERVICE);
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text.replace("ProtectHome=", "ProtectHomes=")).unwrap();
    let said = verify(folder.path());
    assert!(said.contains("Unknown key 'ProtectHomes'"), "{said}");
}

/// The drop-in for a start as root takes back what would keep the processes from becoming their users.
#[test]
fn systemd_analyze_accepts_the_drop_in_for_a_start_as_root() {
    let folder = units();
    let drop_ins = folder.path().join(format!("{SERVICE}.d"));
    fs::create_dir(&drop_ins).unwrap();
    let drop_in = drop_ins.join(ROOT_START);
    fs::copy(shipped(ROOT_START), &drop_in).unwrap();
    assert_eq!(verify(folder.path()), "");

    let text = fs::read_to_string(&drop_in).unwrap();
    fs::write(
        &drop_in,
        text.replace("LoadCredential=", "LoadCredentials="),
    )
    .unwrap();
    let remark = verify(folder.path());
    assert!(remark.contains("Unknown key 'LoadCredentials'"), "{remark}");

    assert_eq!(said_once(ROOT_START, "User"), "root");
    let kept = said_once(ROOT_START, "CapabilityBoundingSet");
    assert_eq!(kept, "CAP_SETUID CAP_SETGID CAP_KILL");
    assert_eq!(said_once(ROOT_START, "SystemCallFilter"), "@setuid capset");
    // systemd would make root the owner of these, at each start.
    let mut kept_writable = Vec::new();
    for (key, top) in [
        ("StateDirectory", "/var/lib"),
        ("LogsDirectory", "/var/log"),
    ] {
        assert_eq!(said_once(ROOT_START, key), "");
        kept_writable.push(format!("{top}/{}", said_once(SERVICE, key)));
    }
    assert_eq!(
        said_once(ROOT_START, "ReadWritePaths"),
        kept_writable.join(" ")
    );
}

/// What systemd-analyze rates the service, which the documentation says too.
fn is_exposed_by(folder: &Path, unit: &str, expected: f64) {
    let done = Command::new("systemd-analyze")
        .args(["--offline=true", "--no-pager", "security"])
        .arg(folder.join(unit))
        .output()
        .expect("systemd-analyze, of Debian's package systemd");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    let (_, level) = said.split_once("Overall exposure level").unwrap();
    let (_, level) = level.split_once(": ").unwrap();
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    assert!(level <= expected, "{said}");
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("docs/deploy.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&format!("**{expected}**")));
}

#[test]
fn the_service_is_sandboxed() {
    let folder = units();
    is_exposed_by(folder.path(), SERVICE, EXPOSURE);
    is_exposed_by(folder.path(), TRUST, EXPOSURE_OF_TRUST);
    is_exposed_by(folder.path(), STATUS, EXPOSURE_OF_STATUS);
    let service = folder.path().join(SERVICE);
    let drop_in = fs::read_to_string(shipped(ROOT_START)).unwrap();
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text + &drop_in).unwrap();
    is_exposed_by(folder.path(), SERVICE, EXPOSURE_AS_ROOT);
}

#[test]
fn the_example_configuration_is_good() {
    let done = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
        .args(["config", "check"])
        .arg(shipped("preprod.toml"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("systemd credential hsm-pin"), "{said}");
}

#[test]
fn configuration_and_units_name_the_same_paths() {
    let config = Config::load(&shipped("preprod.toml")).unwrap();
    let proxy = config.proxy.as_ref().unwrap();

    // The PIN, which lies in no folder that the front end may read.
    let credential = said_once(SERVICE, "LoadCredential");
    let (name, file) = credential.split_once(':').unwrap();
    assert!(matches!(&config.token.pin, PinSource::Credential(of) if of == name));
    let text = fs::read_to_string(shipped("preprod.toml")).unwrap();
    for field in ["certificate", "anchors"] {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        let path = Path::new(line.split('"').nth(1).unwrap());
        let folder = path.parent().unwrap();
        assert!(!Path::new(file).starts_with(folder), "{file}, {line}");
    }

    // What fetches CRLs may write to the folder of anchors and CRLs, and see neither PIN nor state nor ledger.
    let trust_folder = config.trust.anchors.parent().unwrap().to_str().unwrap();
    assert_eq!(said_once(TRUST, "ReadWritePaths"), trust_folder);
    let hidden = said_once(TRUST, "InaccessiblePaths");
    for folder in [
        Path::new(file).parent().unwrap(),
        config.token.state_dir.as_deref().unwrap(),
    ] {
        assert!(
            hidden
                .split(' ')
                .any(|path| path == format!("-{}", folder.display())),
            "{hidden}"
        );
    }
    assert_eq!(said_once(TRUST, "User"), said_once(SERVICE, "User"));
    assert_eq!(
        said_once(TRUST, "Environment"),
        said_once(SERVICE, "Environment")
    );

    // What looks at everything may read what the service may, but for the PIN.
    for key in ["User", "Environment"] {
        assert_eq!(said_once(STATUS, key), said_once(SERVICE, key));
    }
    let folder = Path::new(file).parent().unwrap().display();
    assert_eq!(said_once(STATUS, "InaccessiblePaths"), format!("-{folder}"));

    // Memory of refused PINs, and ledger.
    let state = Path::new("/var/lib").join(said_once(SERVICE, "StateDirectory"));
    assert_eq!(config.token.state_dir.as_deref(), Some(state.as_path()));
    let logs = Path::new("/var/log").join(said_once(SERVICE, "LogsDirectory"));
    let ledger = config.ledger.as_ref().unwrap();
    assert_eq!(ledger.file.parent(), Some(logs.as_path()));
    let looked_at = said_once(STATUS, "ReadWritePaths");
    assert_eq!(looked_at, format!("-{}", logs.display()));

    // The socket, and who may connect to it.
    let [listener] = proxy.listeners.as_slice() else {
        panic!("one listener: {:?}", proxy.listeners);
    };
    let named = ListenAddress::Systemd(said_once(SOCKET, "FileDescriptorName"));
    assert_eq!(listener.address, named);
    assert_eq!(listener.callers, Callers::SocketMode);
    assert_eq!(said_once(SOCKET, "SocketMode"), "0660");
    assert_eq!(said_once(SOCKET, "SocketGroup"), "hsm-mtls-callers");
    // A folder of the service is removed when it stops, and a socket in it: that of operations is in one of its own, that
    // of applications is not.
    let folder = Path::new("/run").join(said_once(SERVICE, "RuntimeDirectory"));
    assert!(!Path::new(&said_once(SOCKET, "ListenStream")).starts_with(&folder));
    let operations = &proxy.operations.as_ref().unwrap().address;
    let ListenAddress::Unix { path, mode, .. } = operations else {
        panic!("operations are no Unix socket: {operations:?}");
    };
    assert_eq!((path.parent(), *mode), (Some(folder.as_path()), 0o600));

    // What is under way is answered before systemd loses patience.
    let patience = said_once(SERVICE, "TimeoutStopSec");
    let patience = patience.strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(patience) > proxy.stop_timeout + HEAD);
    // Exit code 4 is a PIN.
    let not_again = said_once(SERVICE, "RestartPreventExitStatus");
    assert!(not_again.split(' ').any(|code| code == "4"), "{not_again}");
}
