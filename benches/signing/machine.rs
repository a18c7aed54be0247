//! The machine that a run was made on, as far as the figures depend on it; not which one it is.

use std::fs;
use std::process::Command;

use serde::Serialize;

#[derive(Serialize)]
pub struct Machine {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub softhsm: String,
    pub rustc: String,
    pub nginx: String,
    pub openssl: String,
}

impl Machine {
    pub fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // The version, without what its builder called it.
        let kernel = kernel.trim().split('-').next().unwrap_or_default();
        Self {
            date: said("date", &["-u", "+%Y-%m-%d"]),
            cpu: model.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: format!("Linux {kernel}"),
            softhsm: said("softhsm2-util", &["--version"]),
            rustc: first_words(&said("rustc", &["--version"]), 2),
            nginx: said("/usr/sbin/nginx", &["-v"]).replace("nginx version: ", ""),
            openssl: first_words(&said("openssl", &["version"]), 2),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!(
            "{}, {} cores, {}; SoftHSM {}, {}, {}, {}; {}",
            self.cpu,
            self.cores,
            self.kernel,
            self.softhsm,
            self.rustc,
            self.nginx,
            self.openssl,
            self.date
        )
    }
}

fn first_words(text: &str, count: usize) -> String {
    let words: Vec<_> = text.split_whitespace().take(count).collect();
    words.join(" ")
}

/// The first line that a program prints, wherever it prints it.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(done) = Command::new(program).args(arguments).output() else {
        return "unknown".to_owned();
    };
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
