//! The command takes its random numbers from the kernel's generator: aws-lc's own entropy from the jitter of the CPU is not in it, which would
//! cost each process 25 ms (SECURITY.md).

use std::fs;

use crate::common::programs::top;

#[test]
fn no_entropy_is_gathered_from_the_jitter_of_the_cpu() {
    // In what cargo builds for tests, all functions have their names.
    let program = fs::read(env!("CARGO_BIN_EXE_hsm-mtls")).unwrap();
    let has = |name: &str| memchr::memmem::find(&program, name.as_bytes()).is_some();
    assert!(has("RAND_bytes"), "the names are there");
    assert!(!has("jent_entropy_init"), "AWS_LC_SYS_NO_JITTER_ENTROPY");
    let settings = fs::read_to_string(top().join(".cargo/config.toml")).unwrap();
    assert!(settings.contains("AWS_LC_SYS_NO_JITTER_ENTROPY = \"1\""));
}
