//! What one begins with: the scripts and small programs that stand in for an HSM and a hub. They say how they
//! are used, take any folder, and leave alone what is there already.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::bank::Bank;
use common::chaos::Chaos;
use common::poll::{found, until};
use common::softhsm::MODULE;
use tempfile::TempDir;

/// What shells, sed, printf and configurations give a meaning to.
const FOLDERS: [&str; 16] = [
    "with blanks  in it ",
    "a&b",
    "a|b",
    "a'b",
    "a\"b",
    "100%s",
    "back\\1slash\\n",
    "$HOME`id`",
    "semi;colon",
    "star*[x]?",
    "@RUN@",
    "-rf",
    "größe",
    "(brackets)",
    "~",
    "a,b!c",
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn good(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{command:?}\n{stdout}\n{stderr}");
    stdout
}

fn up(folder: &Path) -> Command {
    let mut command = Command::new(top().join("softhsm/up.sh"));
    command.arg("--").arg(folder);
    command
}

/// Whether the PIN of the folder opens the token.
fn opens(folder: &Path, label: &str) -> bool {
    let pin = fs::read_to_string(folder.join("pin")).unwrap();
    let mut tool = Command::new("pkcs11-tool");
    tool.args(["--module", MODULE, "--login", "--list-objects"])
        .args(["--token-label", label, "--pin", &pin])
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
    run(&mut tool).0 == 0
}

#[test]
fn a_token_is_made_in_any_folder_and_a_second_one_leaves_the_first_its_pin() {
    let parent = tempfile::tempdir().unwrap();
    for name in FOLDERS {
        let folder = parent.path().join(name);
        let made = good(&mut up(&folder));
        assert!(made.contains(&folder.display().to_string()), "{made}");
        let files = ["pin", "so-pin", "softhsm2.conf"].map(|file| folder.join(file));
        let before = files.each_ref().map(|file| fs::read(file).unwrap());
        assert!(opens(&folder, "lfi-preprod"), "{name}");
        // The names of two tokens may be alike to who looks for a pattern.
        good(up(&folder).arg("lfi.preprod"));
        good(up(&folder).arg("lfi"));
        // Once more changes nothing.
        let again = good(&mut up(&folder));
        assert!(again.contains("is there already"), "{again}");
        let after = files.each_ref().map(|file| fs::read(file).unwrap());
        assert_eq!(before, after, "{name}");
        assert_eq!(fs::read_dir(folder.join("tokens")).unwrap().count(), 3);
        for label in ["lfi-preprod", "lfi.preprod", "lfi"] {
            assert!(opens(&folder, label), "{name}: {label}");
        }
        let mut down = Command::new(top().join("softhsm/down.sh"));
        good(down.arg("--").arg(&folder));
        assert!(!folder.exists(), "{name}");
    }
    // From where it is, under a name that looks like an option.
    let mut up = Command::new(top().join("softhsm/up.sh"));
    good(up.args(["--", "-q"]).current_dir(parent.path()));
    assert!(opens(&parent.path().join("-q"), "lfi-preprod"));
}

#[test]
fn what_cannot_be_made_is_refused_and_what_is_there_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    // SoftHSM's own file has no way to write these.
    for name in ["a#b", "a=b", "a\nb"] {
        let folder = parent.path().join(name);
        let (code, _, said) = run(&mut up(&folder));
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("SoftHSM cannot be told of a folder"),
            "{said}"
        );
        assert!(!folder.exists(), "{name}");
    }
    let folder = parent.path().join("token");
    for label in ["", "123456789012345678901234567890123", "a\nb"] {
        let (code, _, said) = run(up(&folder).arg(label));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("label"), "{said}");
    }
    assert!(!folder.exists());

    // Another's configuration, and another's files.
    let other = parent.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("softhsm2.conf"), "mine").unwrap();
    let (code, _, said) = run(&mut up(&other));
    assert_eq!(code, 1, "{said}");
    let down = |folder: &Path| {
        let mut down = Command::new(top().join("softhsm/down.sh"));
        good(down.arg(folder))
    };
    fs::create_dir(other.join("tokens")).unwrap();
    assert!(down(&other).contains("nothing of up.sh"));
    assert_eq!(fs::read(other.join("softhsm2.conf")).unwrap(), b"mine");
    let home = parent.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter"), "dear").unwrap();
    good(&mut up(&home));
    assert!(down(&home).contains("other files are left"));
    assert_eq!(fs::read(home.join("letter")).unwrap(), b"dear");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    assert!(down(&parent.path().join("nowhere")).contains("nothing of up.sh"));
}

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let program = built.join("examples").join(name);
    assert!(program.exists(), "cargo build --examples");
    program
}

#[test]
fn each_says_how_it_is_used() {
    let scripts = [
        "softhsm/up.sh",
        "softhsm/down.sh",
        "demo/run.sh",
        "demo/install.sh",
        "deploy/contents.sh",
        "deploy/try.sh",
    ];
    let programs = scripts.map(|script| top().join(script)).into_iter();
    let examples = ["hub", "hello_hub", "thief"].map(example);
    for program in programs.chain(examples) {
        for help in ["--help", "-h"] {
            let said = good(Command::new(&program).arg(help));
            assert!(said.starts_with("usage: "), "{program:?}: {said}");
        }
        for wrong in [&["--no-such-option"][..], &["-x", "y", "z", "a", "b"]] {
            let (code, _, said) = run(Command::new(&program).args(wrong));
            assert_eq!(code, 2, "{program:?} {wrong:?}: {said}");
            assert!(!said.is_empty(), "{program:?}");
        }
    }
    for wrong in [
        &["serve"][..],
        &["serve", "--port", "1"],
        &["serve", "d", "--port"],
        &["serve", "d", "--port", "70000"],
        &["serve", "d", "--listen", "localhost"],
        &["serve", "d", "--prot", "1"],
        &["init"],
        &["init", "d", "name"],
        &["issue", "d"],
    ] {
        let (code, _, said) = run(Command::new(example("hub")).args(wrong));
        assert_eq!(code, 2, "{wrong:?}: {said}");
        assert!(said.starts_with("hub: "), "{said}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The whole path, twice, from a checkout with a name that nobody had in mind.
#[test]
fn the_demo_runs_wherever_it_was_checked_out() {
    let parent = tempfile::tempdir().unwrap();
    let checkout = parent.path().join("a b&c|d'e\"%s\\n$HOME");
    for part in ["demo", "softhsm"] {
        copy(&top().join(part), &checkout.join(part));
    }
    let built = example("hub");
    let target = built.ancestors().nth(3).unwrap();
    for _ in 0..2 {
        let mut demo = Command::new(checkout.join("demo/run.sh"));
        demo.env("CARGO_TARGET_DIR", target)
            .env("CDPATH", parent.path())
            .current_dir(parent.path());
        let said = good(&mut demo);
        assert!(said.contains("both services are established"), "{said}");
    }
    assert!(checkout.join("demo/run/evidence.json").exists());
}

struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        found(|| self.child.try_wait().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hub in a folder whose name has a blank, and what else it is told.
fn hub(folder: &TempDir, input: Stdio, options: &[&str]) -> Served {
    let dir = folder.path().join("the hub's");
    if !dir.exists() {
        good(Command::new(example("hub")).arg("init").arg(&dir));
    }
    let log = folder.path().join("log");
    let child = Command::new(example("hub"))
        .arg("serve")
        .arg(&dir)
        .args(options)
        .stdin(input)
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    Served { child, log }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

#[test]
fn the_hub_listens_where_it_is_told_and_ends_when_it_is_told_and_says_both() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let number = port.to_string();
    // Nothing is on its standard input, and that is no reason to end.
    let mut served = hub(&folder, Stdio::null(), &["--port", &number]);
    until("it says where", || {
        served.said().contains(&format!("127.0.0.1:{port}"))
    });
    for _ in 0..3 {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    assert_eq!(served.child.try_wait().unwrap(), None, "{}", served.said());
    // Where it is, no other can be; and it says so.
    let mut second = Command::new(example("hub"));
    second.arg("serve").arg(folder.path().join("the hub's"));
    let (code, _, said) = run(second.args(["--listen", &format!("127.0.0.1:{port}")]));
    assert_eq!(code, 1);
    assert!(said.contains("cannot listen on"), "{said}");
    // And who has it keeps his Trust Framework.
    let mut init = Command::new(example("hub"));
    let (code, _, said) = run(init.arg("init").arg(folder.path().join("the hub's")));
    assert_eq!(code, 1);
    assert!(said.contains("holds a Trust Framework already"), "{said}");
    for (signal, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let sent = Command::new("kill")
            .args([signal, &served.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert!(served.ended().is_some_and(|status| status.success()));
        assert!(served.said().contains(name), "{}", served.said());
        served = hub(&folder, Stdio::null(), &["--port", &number]);
        until("it is there again", || {
            served.said().contains("hub: https://")
        });
    }

    // Under a script that holds a pipe it ends with the script, unless it is told not to.
    let mut served = hub(&folder, Stdio::piped(), &["--listen", "127.0.0.2:0"]);
    until("it says where", || served.said().contains("127.0.0.2:"));
    let mut pipe = served.child.stdin.take().unwrap();
    pipe.write_all(b"\n").unwrap();
    drop(pipe);
    assert!(served.ended().is_some_and(|status| status.success()));
    assert!(
        served.said().contains("standard input was closed"),
        "{}",
        served.said()
    );
    let port_file = folder.path().join("port");
    let to = port_file.to_str().unwrap();
    let mut served = hub(
        &folder,
        Stdio::piped(),
        &["--port-file", to, "--until-signal"],
    );
    until("it says where", || port_file.exists());
    drop(served.child.stdin.take());
    let port: u16 = fs::read_to_string(&port_file).unwrap().parse().unwrap();
    for _ in 0..3 {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    assert_eq!(served.child.try_wait().unwrap(), None, "{}", served.said());

    let (code, _, said) = run(Command::new(example("hub")).args(["serve", "/no/such/folder"]));
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("/no/such/folder") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn the_token_that_misbehaves_wants_nothing_but_the_module_it_wraps() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "pin-tries 3\n");
    let module = Path::new(MODULE);
    let alone = [("CHAOS_TOKEN_MODULE", module)];
    // A good login, in each process that it takes.
    bank.run_with(&["token", "check"], &alone).expect(0);
    bank.run_with(&["key", "list"], &alone).expect(0);
    let environment = chaos.environment();
    let plan = &environment[1].1;
    let with_plan = [
        ("CHAOS_TOKEN_MODULE", module),
        ("CHAOS_TOKEN_PLAN", plan.as_path()),
        ("CHAOS_TOKEN_STATE", Path::new("")),
    ];
    bank.run_with(&["token", "check"], &with_plan[..2])
        .expect(0);
    bank.run_with(&["token", "check"], &with_plan).expect(0);
    // Wrong ones are counted for as long as the process lives, by another client than ours.
    let mut tool = Command::new("pkcs11-tool");
    let wrong = tool
        .args(["--module", bank.module().to_str().unwrap()])
        .args(["--login", "--pin", "wrong", "--list-objects"])
        .env("SOFTHSM2_CONF", bank.token.conf())
        .envs(with_plan[..2].iter().map(|(name, value)| (*name, *value)));
    let (code, _, said) = run(wrong);
    assert_eq!(code, 1, "it is refused, and does not crash: {said}");
    assert!(said.contains("CKR_PIN_INCORRECT"), "{said}");
    // What it cannot keep it says.
    let nowhere = [
        with_plan[0],
        with_plan[1],
        ("CHAOS_TOKEN_STATE", Path::new("/")),
    ];
    let run = bank.run_with(&["token", "check"], &nowhere);
    assert!(
        run.stderr.contains("chaos-token: / of CHAOS_TOKEN_STATE"),
        "{run:?}"
    );
}
