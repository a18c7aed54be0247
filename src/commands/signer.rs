//! `signer`: the process that holds module, PIN and ledger. Its supervisor starts it.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hsm_mtls::config::Config;
use hsm_mtls::error::{Error, ExitCode};
use hsm_mtls::identity::Identity;
use hsm_mtls::signer::supervisor::Launch;
use hsm_mtls::signer::{self, hardening, service};

use super::{CommandError, Global, LogFormat, start};

pub(super) fn serve(global: &Global) -> Result<ExitCode, CommandError> {
    if hardening::has_strays()? {
        return Err(begin_again());
    }
    let config = start::config(global)?;
    service::serve(config, start::attendance_of).map_err(CommandError::Stage)
}

/// An application may have files open that its children inherit. They are closed by an exec.
fn begin_again() -> CommandError {
    hardening::keep_descriptors();
    let mut arguments = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    CommandError::Output(again.args(arguments).exec())
}

/// The configured chain, and its key in a signer process of this program's.
pub(super) fn identity(global: &Global, config: &Config) -> Result<Identity, Error> {
    // Whatever the shell left open is nothing for a process that has the PIN.
    hardening::keep_descriptors();
    signer::identity(config, launch(global, config))
}

fn launch(global: &Global, config: &Config) -> Launch {
    let mut arguments: Vec<OsString> = vec!["--config".into(), config.path.clone().into()];
    if global.log_format == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    arguments.extend((0..global.verbose).map(|_| "-v".into()));
    arguments.push("signer".into());
    Launch {
        // Whatever file has the name of the program by now: the same version must be started.
        program: "/proc/self/exe".into(),
        arguments,
        environment: config.token.env.clone(),
        attended: std::io::stdin().is_terminal(),
    }
}
