//! A signer process as a test starts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::signer::signer_supervisor::Launch;

use super::bank::{BINARY, Bank};
use super::chaos::Chaos;
use super::procfs::{command_line, state};

/// The command, as a signer of this bank's.
pub fn launch(bank: &Bank, chaos: Option<&Chaos>) -> Launch {
    launch_of(&config(bank), chaos)
}

pub fn launch_of(config: &Config, chaos: Option<&Chaos>) -> Launch {
    let mut environment: BTreeMap<String, String> = config.token.env.clone();
    let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
    if let Some(chaos) = chaos {
        let more = chaos.environment();
        environment.extend(more.map(|(name, value)| (name.to_owned(), text(value))));
    }
    Launch {
        program: BINARY
            .expect("cargo tells tests where the command is")
            .into(),
        arguments: vec![
            "--config".into(),
            config.path.clone().into(),
            "signer".into(),
        ],
        environment,
        attended: false,
    }
}

pub fn config(bank: &Bank) -> Config {
    Config::load(&bank.config_path()).expect("the bank's configuration")
}

/// The signer processes of a bank that run.
pub fn signers(bank: &Bank) -> Vec<u32> {
    let path = bank.config_path();
    let path = path.to_str().expect("a plain path").as_bytes();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let argv = command_line(*pid);
            let words: Vec<_> = argv.split(|byte| *byte == 0).collect();
            words.contains(&path) && words.contains(&&b"signer"[..])
        })
        .filter(|pid| state(*pid).is_some_and(|state| state != 'Z'))
        .collect()
}
