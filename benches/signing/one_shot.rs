//! One request by a process of its own: `hsm-mtls request` beside curl with OpenSSL's engine. Wall clock, and the CPU of the
//! process with all that it has waited for.
#![expect(
    unsafe_code,
    reason = "getrusage has no safe binding here, and /proc counts in ticks of 10 ms: more than half of what is measured"
)]

use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::bank::BINARY;
use crate::pairs::Ratio;
use crate::peers;
use crate::results::OneShot;
use crate::servers::BODY;
use crate::setup::Setup;

const PAIRS: usize = 30;
const PATH: &str = "/hello-mtls";

/// Pairs in turn, of the same token, key and hub.
pub fn measured(setup: &Setup) -> OneShot {
    eprintln!("{}: one request, beside curl", setup.key);
    let url = format!("https://127.0.0.1:{}{PATH}", setup.hubs[0].port);
    let mut ours = Command::new(BINARY.expect("cargo tells benchmarks where the command is"));
    ours.arg("--config")
        .arg(setup.bank.config_path())
        .args(["request", "GET", &format!("cm:{PATH}")])
        .env_remove("SOFTHSM2_CONF");
    let mut found = OneShot {
        key: setup.key,
        wall_ms: None,
        cpu_ms: None,
        missing: None,
    };
    let mut theirs = match peers::curl(&setup.bank, &url) {
        Ok(command) => command,
        Err(why) => {
            found.missing = Some(why);
            return found;
        }
    };
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    // The first pair reads the programs from the disk.
    for pair in 0..=PAIRS {
        let both = [&mut ours, &mut theirs].map(timed);
        match both {
            [Ok(ours), Ok(theirs)] if pair > 0 => {
                wall.push((ours.0, theirs.0));
                cpu.push((ours.1, theirs.1));
            }
            [Ok(_), Ok(_)] => {}
            [Err(why), _] => panic!("hsm-mtls request: {why}"),
            [_, Err(why)] => {
                eprintln!("curl: {why}");
                found.missing = Some("does not work here".to_owned());
                return found;
            }
        }
    }
    found.wall_ms = Ratio::of(&wall);
    found.cpu_ms = Ratio::of(&cpu);
    found
}

/// Runs it to its end: milliseconds of the clock, and of CPU.
fn timed(command: &mut Command) -> Result<(f64, f64), String> {
    let before = cpu_of_children();
    let began = Instant::now();
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let wall = began.elapsed().as_secs_f64() * 1000.0;
    let cpu = cpu_of_children() - before;
    match done.status.success() && done.stdout == BODY {
        true => Ok((wall, cpu)),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// Milliseconds of all processes that this one has waited for, and that those have.
fn cpu_of_children() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills in the structure that it is given, and all zeros are one too.
    let usage = unsafe {
        let failed = libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        assert_eq!(failed, 0, "getrusage");
        usage.assume_init()
    };
    let millis = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    millis(usage.ru_utime) + millis(usage.ru_stime)
}
