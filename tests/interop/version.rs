//! Which versions a run had: of Debian's packages, and of crates.

use std::fs;
use std::process::Command;

use crate::common::programs::{good, top};
use crate::peer::Peer;

/// `name version, name version`, of packages that are installed.
pub fn packages(names: &[&str]) -> String {
    let version = |name: &&str| {
        let format = "--showformat=${Package} ${Version}";
        good(Command::new("dpkg-query").args(["--show", format, name]))
    };
    let versions: Vec<_> = names.iter().map(version).collect();
    versions.join(", ")
}

/// Of a crate in the lock file of a folder of this repository.
pub fn locked_crate(folder: &str, name: &str) -> String {
    let path = top().join(folder).join("Cargo.lock");
    let text = fs::read_to_string(path).expect("a lock file");
    let (_, package) = text
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .expect("the crate");
    package.split('"').next().expect("its version").to_owned()
}

pub fn of_peer(peer: Peer) -> String {
    match peer {
        Peer::Nginx => packages(&["nginx-light", "libssl3"]),
        Peer::OpenSsl => packages(&["openssl"]),
        Peer::GnuTls => packages(&["gnutls-bin"]),
        Peer::Java => {
            let properties = ["-XshowSettings:properties", "-version"];
            let shown = Command::new("java").args(properties).output();
            let shown = shown.expect("java").stderr;
            let text = String::from_utf8_lossy(&shown).into_owned();
            let property = |name: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
                line.expect("a property").to_owned()
            };
            format!(
                "{} {}",
                property("java.vm.name = "),
                property("java.runtime.version = ")
            )
        }
        Peer::Rustls => format!(
            "rustls {}, aws-lc-rs {}",
            locked_crate("", "rustls"),
            locked_crate("", "aws-lc-rs")
        ),
    }
}
