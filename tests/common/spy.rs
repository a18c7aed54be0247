//! OpenSC's pkcs11-spy, which writes down what a module is asked for.

use std::fs;
use std::path::PathBuf;

pub fn module() -> PathBuf {
    let folders = fs::read_dir("/usr/lib")
        .expect("/usr/lib")
        .filter_map(Result::ok);
    folders
        .map(|folder| folder.path().join("pkcs11-spy.so"))
        .find(|path| path.exists())
        .expect("pkcs11-spy.so: install `opensc-pkcs11` (make test does)")
}

/// `12: C_SignInit` → `C_SignInit`
pub fn calls(log: &str) -> Vec<&str> {
    let call = |line| {
        let (number, name): (&str, &str) = str::split_once(line, ": ")?;
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (numbered && name.starts_with("C_")).then_some(name)
    };
    log.lines().filter_map(call).collect()
}
