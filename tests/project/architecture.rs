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
        ("cryptoki_sys", &["src/token/raw", "src/token/info.rs"]),
        ("rustls::", &["src/tls", "src/client"]),
        ("landlock::", &["src/signer/sandbox.rs"]),
        ("seccompiler::", &["src/signer/system_call_filter"]),
        ("libc::", &["src/signer/system_call_filter"]),
        ("close_fds::", &["src/signer/hardening.rs"]),
        ("clap::", &["cli/src/commands"]),
        ("println!", &["cli/src/commands"]),
        ("anstream::", &["cli/src/commands"]),
        ("unsafe ", &["src/token/raw"]),
        ("hsm_mtls_cli", &["cli/src/main.rs"]),
    ] {
        let found = outside(needle, allowed);
        assert!(found.is_empty(), "{needle} is for {allowed:?}: {found:#?}");
    }
}

/// Each module of a crate uses those before it in this list, and none after it. The library's are in the order of
/// its stages.
#[test]
fn no_module_uses_a_later_one() {
    let library = [
        "exit_code",
        "diagnostic",
        "backoff",
        "poison",
        "polling",
        "rfc3339",
        "shell_quote",
        "truncated_list",
        "uuid_format",
        "jwt_claims",
        "regime",
        "accounts",
        "access_diagnosis",
        "owner_and_mode",
        "state_file",
        "lossy_writer",
        "log_target",
        "metrics",
        "standard_error",
        "working_dir",
        "config",
        "ledger",
        "token",
        "key",
        "engine",
        "certificate",
        "csr",
        "identity",
        "jwks",
        "jwt",
        "tls",
        "signer",
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
                let wrong = import(&text, "crate", later);
                assert!(wrong.is_none(), "{name} uses {later}: {wrong:?}");
            }
        }
    }
}

/// Where the code names `parent::module`, or the module in a group `parent::{...}`: that line or group.
fn import(text: &str, parent: &str, module: &str) -> Option<String> {
    let code = code(text).collect::<Vec<_>>().join("\n");
    let named = |text: &str| {
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == module)
    };
    let path = format!("{parent}::");
    code.match_indices(&path)
        .map(|(at, _)| &code[at + path.len()..])
        .find_map(|rest| {
            let end = match rest.starts_with('{') {
                true => rest.find(';'),
                false => rest.find(|c: char| !c.is_alphanumeric() && c != '_'),
            };
            let import = &rest[..end.unwrap_or(rest.len())];
            named(import).then(|| format!("{path}{import}"))
        })
}

/// The same within the folders whose files are many: each file uses those before it in its folder's list, and none
/// after it. `error` is left out: an error of a folder holds those of its files.
#[test]
fn no_arrow_runs_back_within_a_folder() {
    let folders = [
        (
            "src/token",
            "crate::token",
            "fault flag_names operation call_gate raw info info_calls initialize timeout module_config module_dir module_file module mechanism_list \
             description session_call pin guard session_kind session login_scope slot_selection role device_info login observed_behaviour",
        ),
        (
            "src/token/guard",
            "crate::token::guard",
            "pin_role refused_pin_versions retry_policy login_lock attempt_file acceptance attendance \
             pin_flags pin_cache new_pin pin_digest ledger_entry login_call sent_login login_outcome token_in_slot",
        ),
        (
            "src/key",
            "crate::key",
            "unsupported scheme ecdsa_signature signing_mechanism public attributes \
             custody_attributes certificate_object extraction_probes template_search \
             key_pair_template generation_mechanism known_claims vendor_tool destruction new_key_pair key_pair_generator generate generation_trial \
             interrupted_generation probe_keys",
        ),
        (
            "src/engine",
            "crate::engine",
            "block_on handshake_threads health reported_error sign remedy outage session_limit token_recovery signing queue session_pool \
             worker_pool proof",
        ),
        (
            "src/signer",
            "crate::signer",
            "rate_limit tls12_transcript tls12_policy jwt_policy policy frame replacement fd_passing hardening service_user sandbox system_call_filter ignored_signals sealed_configuration \
             heartbeat channel channel_pool channel_key child_process process_launcher launch health signer_supervisor remote_key open_key pin_file_watch state \
             request_handler service reload_protocol watched_name config_reader signer_group signer_plan supervisor_reload file_watch front_end_supervisor",
        ),
        (
            "softhsm/chaos-token/src",
            "crate",
            "names words rule persona outage template_rules login_rules device_limits key_generation_plan plan \
             plan_file exit calls wrapped wrapped_objects throttle presence forward slots scramble device \
             sign login claims key_generation token interface",
        ),
    ];
    for (folder, path, order) in folders {
        let order: Vec<_> = order.split_whitespace().collect();
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for (name, text) in files {
            let inside = name.strip_prefix(&format!("{folder}/")).unwrap();
            let module = inside.split(['/', '.']).next().unwrap();
            let module = module.strip_suffix("_tests").unwrap_or(module);
            if ["lib", "error"].contains(&module) {
                continue;
            }
            let place = order.iter().position(|known| *known == module);
            let place = place.unwrap_or_else(|| panic!("{name} is in no order"));
            let parents = match inside.contains('/') {
                true => [path, "super::super"],
                false => [path, "super"],
            };
            for later in &order[place + 1..] {
                for parent in parents {
                    let wrong = import(&text, parent, later);
                    assert!(wrong.is_none(), "{name} uses {later}: {wrong:?}");
                }
            }
        }
    }
}

/// The order in which lib.rs names the stages is the true one.
#[test]
fn the_stages_are_listed_in_order() {
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
        "jwks",
        "tls",
        "signer",
        "client",
    ];
    assert_eq!(named, stages);
}

#[test]
fn each_file_has_a_purpose_line_and_at_most_350_lines() {
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
