//! A bank with two tokens that hold a key for the connections, each behind a `p11-kit server` of its own.

use std::fs;
use std::path::Path;

use super::bank::Bank;
use super::remote_token::{CLIENT, RemoteToken};
use super::softhsm::SoftHsm;

/// The two servers, and the second token's folder.
pub struct TwoTokens {
    pub first: RemoteToken,
    pub second: RemoteToken,
    pub second_folder: SoftHsm,
    /// The `[[token]]` of the second.
    pub section: String,
}

impl TwoTokens {
    /// A second token `b` beside the bank's `a`, with a key and a certificate of its own. `lines` are further lines of each
    /// `[[token]]`.
    pub fn different(bank: &mut Bank, key_type: &str, lines: [&str; 2]) -> Self {
        let mut second = SoftHsm::new("lfi-b");
        let first = format!("pkcs11:token={}", bank.token.label());
        let pin = |token: &SoftHsm| format!("{{ file = \"{}\" }}", token.pin_file().display());
        let pins = [pin(&bank.token), pin(&second)];
        std::mem::swap(&mut bank.token, &mut second);
        bank.configure(|settings| {
            settings.token_uri = "pkcs11:token=lfi-b".to_owned();
            settings.certificate = "c3-b.pem".to_owned();
            settings.pin = pins[1].clone();
        });
        bank.certify(key_type);
        std::mem::swap(&mut bank.token, &mut second);
        bank.configure(|settings| {
            settings.token_uri = first;
            settings.certificate = "c3.pem".to_owned();
            settings.pin = pins[0].clone();
        });
        Self::start(bank, second, "certificate = \"c3-b.pem\"", lines)
    }

    /// A second token `b` that holds the key of the bank's `a`.
    pub fn cloned(bank: &mut Bank, lines: [&str; 2]) -> Self {
        let second = SoftHsm::new("lfi");
        fs::remove_dir_all(second.tokens()).expect("its token");
        copy(&bank.token.tokens(), &second.tokens());
        Self::start(bank, second, "clone = true", lines)
    }

    fn start(bank: &mut Bank, token: SoftHsm, key: &str, lines: [&str; 2]) -> Self {
        let first = RemoteToken::of(bank);
        let socket = bank.path("p11-kit-b.sock");
        let mut second = RemoteToken::at(&socket, token.label());
        second.start_with(&token.conf());
        bank.configure(|settings| {
            settings.token_lines = format!("name = \"a\"\n{}", lines[0]);
        });
        let section = format!(
            "[[token]]\nname = \"b\"\n{key}\nmodule = \"{CLIENT}\"\nuri = \"pkcs11:token={}\"\npin = {{ file = \"{}\" }}\n\
             state_dir = \"state-b\"\n{}\n[token.env]\nP11_KIT_SERVER_ADDRESS = \"{}\"\n",
            token.label(),
            token.pin_file().display(),
            lines[1],
            RemoteToken::address(&socket),
        );
        Self {
            first,
            second,
            second_folder: token,
            section,
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the tokens") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file of the token")),
        }
    }
}
