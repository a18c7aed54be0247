//! The project's law, held against its own sources: which room may use what.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn product() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Lines of code that hold `needle`, outside of the rooms that may.
fn outside(needle: &str, rooms: &[&str]) -> Vec<String> {
    let files = product().into_iter();
    let strangers = files.filter(|(name, _)| !rooms.iter().any(|room| name.starts_with(room)));
    strangers
        .flat_map(|(name, text)| {
            let lines: Vec<_> = text
                .lines()
                .map(str::trim_start)
                .filter(|line| !line.starts_with("//") && line.contains(needle))
                .map(|line| format!("{name}: {line}"))
                .collect();
            lines
        })
        .collect()
}

#[test]
fn each_library_is_used_in_its_room_only() {
    for (needle, rooms) in [
        ("cryptoki::", &["src/token", "src/key", "src/engine/"][..]),
        ("cryptoki_sys", &["src/token/raw.rs"]),
        ("rustls::", &["src/tls", "src/client"]),
        ("landlock::", &["src/signer/sandbox.rs"]),
        ("close_fds::", &["src/signer/hardening.rs"]),
        ("clap::", &["src/commands", "src/main.rs"]),
        ("println!", &["src/commands", "src/main.rs"]),
        ("anstream::", &["src/commands"]),
        ("unsafe ", &["src/token/raw.rs"]),
        ("commands::", &["src/main.rs", "src/commands"]),
    ] {
        let found = outside(needle, rooms);
        assert!(found.is_empty(), "{needle} is for {rooms:?}: {found:#?}");
    }
}

/// config → ledger → token → key → engine → certificate → csr, identity → signer → tls → client → proxy, verify, audit
#[test]
fn arrows_only_go_to_the_right() {
    let order = [
        "config",
        "ledger",
        "token",
        "key",
        "engine",
        "certificate",
        "csr",
        "identity",
        "signer",
        "tls",
        "client",
        "proxy",
        "verify",
        "audit",
    ];
    for (name, text) in product() {
        let room = name.strip_prefix("src/").unwrap();
        let room = room.split(['/', '.']).next().unwrap();
        let Some(place) = order.iter().position(|stage| *stage == room) else {
            continue;
        };
        for later in &order[place + 1..] {
            let arrow = format!("crate::{later}");
            let wrong = text.lines().find(|line| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && code.contains(&arrow)
                    && !code.contains(&format!("{arrow}_"))
            });
            assert!(wrong.is_none(), "{name} uses {later}: {wrong:?}");
        }
    }
}

#[test]
fn each_file_says_why_it_exists_and_is_of_a_readable_length() {
    let mut all = product();
    for folder in ["tests", "benches", "examples", "softhsm"] {
        sources(&root().join(folder), &mut all);
    }
    for (name, text) in all {
        assert!(
            text.starts_with("//! "),
            "{name} does not open with a //! purpose line"
        );
        let lines = text.lines().count();
        assert!(lines <= 350, "{name} has {lines} lines");
    }
}

#[test]
fn nothing_loads_a_private_key() {
    for needle in [
        "PrivateKeyDer",
        "with_client_auth_cert",
        "load_private_key",
        "with_single_cert",
    ] {
        let found = outside(needle, &[]);
        assert!(found.is_empty(), "{found:#?}");
    }
}
