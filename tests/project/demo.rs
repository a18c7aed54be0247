//! The demo, its hub and the other scripts and examples: each prints its usage, runs from any checkout, and says why
//! it ends.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::poll::{found, until};
use crate::common::ports;
use crate::common::programs::{example, good, run, top};
use tempfile::TempDir;

#[test]
fn each_program_prints_its_usage() {
    let scripts = [
        "softhsm/up.sh",
        "softhsm/down.sh",
        "demo/run.sh",
        "demo/plain.sh",
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

/// Services of no scheme, from a checkout with a name that nobody had in mind.
#[test]
fn the_demo_of_no_scheme_runs_against_nginx() {
    let parent = tempfile::tempdir().unwrap();
    let checkout = parent.path().join("a b&c|d'e\"%s$HOME");
    for part in ["demo", "softhsm"] {
        copy(&top().join(part), &checkout.join(part));
    }
    let target = example("hub");
    let target = target.ancestors().nth(3).unwrap();
    for _ in 0..2 {
        let mut demo = Command::new(checkout.join("demo/plain.sh"));
        demo.env("CARGO_TARGET_DIR", target)
            .current_dir(parent.path());
        let said = good(&mut demo);
        let seen = "asked by CN=payments-client";
        for service in ["payments", "accounts"] {
            assert!(said.contains(&format!("{service}, {seen}")), "{said}");
        }
        assert!(said.contains("Done: both services know"), "{said}");
    }
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

#[test]
fn the_hub_prints_where_it_listens_and_why_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let port = ports::unused();
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
