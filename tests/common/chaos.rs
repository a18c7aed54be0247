//! SoftHSM or another module behind the fault-injecting one: what real tokens do, on demand, with each call counted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::bank::{Bank, Run};
use super::hub::{Hub, HubOptions};
use super::softhsm::MODULE;

pub struct Chaos {
    dir: Folder,
    /// The module that it wraps.
    module: PathBuf,
}

enum Folder {
    Own(TempDir),
    Parents(PathBuf),
}

impl Chaos {
    /// Puts the module between the bank and its token.
    pub fn between(bank: &mut Bank, plan: &str) -> Self {
        // cargo builds the module for the tests, into the folder that they are in.
        let test = std::env::current_exe().expect("the test binary");
        let module = test.parent().expect("its folder").join("libchaos_token.so");
        assert!(module.exists(), "{} is not built", module.display());
        let chaos = Self {
            dir: Folder::Own(tempfile::tempdir().expect("a folder for the plan")),
            // A second plan takes the place of the first: the module does not wrap itself.
            module: match bank.module() == module {
                true => MODULE.into(),
                false => bank.module().to_owned(),
            },
        };
        chaos.plan(plan);
        bank.configure(|settings| settings.module = module);
        chaos
    }

    /// The same for a bank with a certified key and its hub.
    pub fn certified(plan: &str) -> (Bank, Self, Hub) {
        let mut bank = Bank::new();
        let hub =
            Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
        bank.hub_at(hub.port());
        bank.certify("p-256");
        let chaos = Self::between(&mut bank, plan);
        (bank, chaos, hub)
    }

    /// The same plan, log and state, in a process that [`Bank::run_test`] started.
    pub fn of_child() -> Self {
        let plan = std::env::var_os("CHAOS_TOKEN_PLAN").expect("the parent's plan");
        let folder = Path::new(&plan).parent().expect("its folder").to_owned();
        Self {
            dir: Folder::Parents(folder),
            module: MODULE.into(),
        }
    }

    /// From the next call on, this goes wrong; calls are numbered anew.
    pub fn plan(&self, text: &str) {
        static PLANS: AtomicU64 = AtomicU64::new(0);
        fs::write(self.path("plan"), text).expect("the plan");
        // The module looks at the time of change, and a clock tick is longer than a short test.
        let number = PLANS.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now() + Duration::from_secs(number);
        let file = File::options().write(true).open(self.path("plan"));
        file.and_then(|file| file.set_modified(time))
            .expect("the plan's time");
    }

    /// What a process needs that loads the module.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("CHAOS_TOKEN_MODULE", self.module.clone()),
            ("CHAOS_TOKEN_PLAN", self.path("plan")),
            ("CHAOS_TOKEN_LOG", self.path("log")),
            ("CHAOS_TOKEN_STATE", self.path("wrong-pins")),
        ]
    }

    /// Runs the command with the module in between.
    pub fn run(&self, bank: &Bank, arguments: &[&str]) -> Run {
        self.run_with(bank, arguments, &[])
    }

    /// The same with further variables.
    pub fn run_with(&self, bank: &Bank, arguments: &[&str], further: &[(&str, &str)]) -> Run {
        let own = self.environment();
        let own = own.iter().map(|(name, value)| (*name, value.as_path()));
        let further = further
            .iter()
            .map(|(name, value)| (*name, Path::new(*value)));
        let environment: Vec<(&str, &Path)> = own.chain(further).collect();
        bank.run_with(arguments, &environment)
    }

    /// Runs a test again, in a process of its own that loads the module.
    pub fn run_test<Test: Fn()>(&self, bank: &Bank, test: Test, further: &[(&str, String)]) {
        let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        let own = self.environment().map(|(name, value)| (name, text(value)));
        bank.run_test(test, &[&own[..], further].concat());
    }

    /// How often a function was called since the log was last forgotten.
    pub fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().filter(|line| *line == function).count()
    }

    /// Each call since the log was last forgotten.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn forget_calls(&self) {
        // Where no call was made yet, there is nothing to forget.
        let _ = fs::remove_file(self.path("log"));
    }

    fn path(&self, name: &str) -> PathBuf {
        match &self.dir {
            Folder::Own(dir) => dir.path().join(name),
            Folder::Parents(path) => path.join(name),
        }
    }
}
