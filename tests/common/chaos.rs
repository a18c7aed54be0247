//! SoftHSM behind the fault-injecting module: what real tokens do, on demand, with each call counted.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::bank::Bank;
use super::softhsm::MODULE;

pub struct Chaos {
    dir: TempDir,
}

impl Chaos {
    /// Puts the module between the bank and its token.
    pub fn between(bank: &mut Bank, plan: &str) -> Self {
        let chaos = Self {
            dir: tempfile::tempdir().expect("a folder for the plan"),
        };
        chaos.plan(plan);
        // cargo builds the module for the tests, into the folder that they are in.
        let test = std::env::current_exe().expect("the test binary");
        let module = test.parent().expect("its folder").join("libchaos_token.so");
        assert!(module.exists(), "{} is not built", module.display());
        bank.configure(|settings| settings.module = module);
        chaos
    }

    /// From the next call on, this goes wrong; calls are numbered anew.
    pub fn plan(&self, text: &str) {
        fs::write(self.path("plan"), text).expect("the plan");
    }

    /// What a process needs that loads the module.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("CHAOS_TOKEN_MODULE", MODULE.into()),
            ("CHAOS_TOKEN_PLAN", self.path("plan")),
            ("CHAOS_TOKEN_LOG", self.path("log")),
            ("CHAOS_TOKEN_STATE", self.path("wrong-pins")),
        ]
    }

    /// Runs the command with the module in between.
    pub fn run(&self, bank: &Bank, arguments: &[&str]) -> super::bank::Run {
        let environment = self.environment();
        let environment: Vec<(&str, &Path)> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_path()))
            .collect();
        bank.run_with(arguments, &environment)
    }

    /// How often a function was called since the log was last forgotten.
    pub fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().filter(|line| *line == function).count()
    }

    pub fn forget_calls(&self) {
        // Where no call was made yet, there is nothing to forget.
        let _ = fs::remove_file(self.path("log"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
