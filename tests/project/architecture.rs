//! The project's structure, held against its own sources: which module may use what.

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
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The sources of both crates.
fn product() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    sources(&root().join("cli/src"), &mut found);
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Lines of code that hold `needle`, outside of the folders that may.
fn outside(needle: &str, allowed: &[&str]) -> Vec<String> {
    let files = product().into_iter();
    let others = files.filter(|(name, _)| !allowed.iter().any(|path| name.starts_with(path)));
    others
        .flat_map(|(name, text)| {
            let lines: Vec<_> = code(&text)
                .filter(|line| line.contains(needle))
                .map(|line| format!("{name}: {line}"))
                .collect();
            lines
        })
        .collect()
}

/// Its lines without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

#[test]
fn each_library_is_used_where_it_belongs_only() {
    for (needle, allowed) in [
        ("cryptoki::", &["src/token", "src/key", "src/engine/"][..]),
        ("cryptoki_sys", &["src/token/raw.rs", "src/token/info.rs"]),
        ("rustls::", &["src/tls", "src/client"]),
        ("landlock::", &["src/signer/sandbox.rs"]),
        ("close_fds::", &["src/signer/hardening.rs"]),
        ("clap::", &["cli/src/commands"]),
        ("println!", &["cli/src/commands"]),
        ("anstream::", &["cli/src/commands"]),
        ("unsafe ", &["src/token/raw.rs"]),
        ("hsm_mtls_cli", &["cli/src/main.rs"]),
    ] {
        let found = outside(needle, allowed);
        assert!(found.is_empty(), "{needle} is for {allowed:?}: {found:#?}");
    }
}

/// Each module of a crate uses those before it in this list, and none after it. The library's are in the order of
/// its stages.
#[test]
fn no_arrow_runs_back() {
    let library = [
        "exit_code",
        "diagnostic",
        "backoff",
        "poison",
        "rfc3339",
        "truncated_list",
        "uuid_format",
        "accounts",
        "path_access",
        "path_permissions",
        "lossy_writer",
        "metrics",
        "standard_error",
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
    ];
    let command = ["check_steps", "proxy", "verify", "audit", "commands"];
    for (folder, order) in [("src", &library[..]), ("cli/src", &command[..])] {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for (name, text) in files {
            let module = name.strip_prefix(&format!("{folder}/")).unwrap();
            let module = module.split(['/', '.']).next().unwrap();
            let module = module.strip_suffix("_tests").unwrap_or(module);
            if ["lib", "main", "error"].contains(&module) {
                continue;
            }
            let place = order.iter().position(|known| *known == module);
            let place = place.unwrap_or_else(|| panic!("{name} is in no order"));
            for later in &order[place + 1..] {
                let arrow = format!("crate::{later}");
                let wrong = code(&text).find(|line| {
                    line.match_indices(&arrow).any(|(at, _)| {
                        let next = line[at + arrow.len()..].chars().next();
                        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
                    })
                });
                assert!(wrong.is_none(), "{name} uses {later}: {wrong:?}");
            }
        }
    }
}

/// The order in which lib.rs names the stages is the true one.
#[test]
fn the_stages_stand_in_their_order() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let named: Vec<_> = code(&text)
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .skip_while(|module| *module != "config")
        .take_while(|module| *module != "error_tests")
        .collect();
    let stages = [
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
    ];
    assert_eq!(named, stages);
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
