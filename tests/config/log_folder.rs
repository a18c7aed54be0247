//! The access log has a folder of its own: the front end, which parses the network, may write to it.

use std::fs;
use std::os::unix::fs::symlink;

use crate::named_files::{CONFIG, NamedFiles, VARIANTS, unwrapped};

/// Nothing that decides something is in that folder.
#[test]
fn an_access_log_has_a_folder_of_its_own() {
    let files = NamedFiles::new();
    let text = |log: &str| CONFIG.replace("log/access.jsonl", log);
    let configured = |text: &str| {
        let folder = files.path("");
        let text = text
            .replace("{pin}", VARIANTS[1].0)
            .replace("{head}", VARIANTS[1].1);
        let text = text.replace("{folder}", folder.to_str().unwrap().trim_end_matches('/'));
        fs::write(files.path("bank.toml"), text).unwrap();
        files.run(&["config", "check"])
    };
    for (log, role) in [
        ("bank.log", "the configuration file"),
        ("state/memory/access.jsonl", "`state_dir`"),
        ("state/access.jsonl", "`state_dir`"),
        ("records/access.jsonl", "the ledger"),
        ("trust/access.jsonl", "`anchors`"),
        ("revoked/access.jsonl", "`crls`"),
        ("tls/access.jsonl", "the certificate"),
        ("callers/access.jsonl", "a caller's token"),
        ("module/access.jsonl", "the module"),
        ("pin-program/access.jsonl", "`command` of `pin`"),
        ("pin-argument/access.jsonl", "`command` of `pin`"),
        ("head-program/access.jsonl", "`head` of [ledger]"),
        ("work/access.jsonl", "`working_dir`"),
        ("conf/access.jsonl", "SOFTHSM2_CONF"),
        ("sockets/access.jsonl", "a socket"),
        ("operations/access.jsonl", "a socket"),
        ("sandbox/access.jsonl", "`landlock`"),
        ("evidence/access.jsonl", "`attestation`"),
    ] {
        let done = configured(&text(log));
        let stderr = unwrapped(&String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(2), "{log}: {stderr}");
        let told = stderr.contains("because `access_log` is there") && stderr.contains(role);
        assert!(told, "{log}: {stderr}");
        assert!(stderr.contains("a folder of its own"), "{stderr}");
    }
    // A link of the access log to such a folder, and such a path that leads through its folder.
    symlink(files.path("records/access.jsonl"), files.path("log/link")).unwrap();
    fs::write(files.path("records/access.jsonl"), "").unwrap();
    assert_eq!(configured(&text("log/link")).status.code(), Some(2));
    symlink(files.path("trust"), files.path("log/trust")).unwrap();
    let through = text("log/access.jsonl").replace("trust/anchors.pem", "log/trust/anchors.pem");
    assert_eq!(configured(&through).status.code(), Some(2));
    // Neither is there yet, and the log's folder is named by a link above it.
    symlink(files.path(""), files.path("top")).unwrap();
    let missing = text("top/new/access.jsonl").replace("trust/anchors.pem", "new/anchors.pem");
    assert_eq!(configured(&missing).status.code(), Some(2));
    let below = configured(&text("log/access.jsonl"));
    assert!(below.status.success(), "{below:?}");
}
