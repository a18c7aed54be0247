//! The process that loads the PKCS#11 module for one command. A module is native code: where it ends its process, or never
//! returns, the command still says which step that was, and ends with an exit code of its own.
//!
//! The command starts itself once more, in the same session of the terminal, with the module's environment variables. The
//! child does what the command does, and prints its result. Over a pipe it tells the parent which step it is in; the parent
//! ends it where a step does not end, and reports a crash.

mod child;
mod error;
mod parent;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::token::TokenOperation;
use hsm_mtls::internal::working_dir;
use serde::{Deserialize, Serialize};

use super::{CommandError, Global, setup};
use crate::check_steps::Step;
pub(super) use child::{end, interrupts_are_handled, tell};
pub(crate) use error::TokenProcessError;
pub(super) use parent::GENERATION_TRIES;

/// The variable of the child: the process id of its parent and the descriptor of the pipe, as `1234:5`.
const VARIABLE: &str = "HSM_MTLS_TOKEN_PROCESS";

/// What the child tells its parent, as a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// The step with the token that the process is in from now on.
    Operation(Option<TokenOperation>),
    /// From now on the command itself ends after an interruption, with what it has.
    HandlesInterruptions,
    /// A step of `token check` begins.
    Begins(String),
    /// A step of `token check` has ended, with its exit code if it failed.
    Step(Step, Option<u8>),
    /// What `token check` found out, for its report: the section and its content.
    Fact(String, serde_json::Value),
    /// The command ends with this exit code: its process did not just disappear.
    Ends(u8),
}

/// The process that this is.
pub(super) enum Side {
    /// The one that loads the module.
    Child(Box<Config>),
    /// The one that the user started: the other has ended.
    Parent(Result<ExitCode, TokenProcessError>),
}

/// What the parent does beside watching.
pub(super) trait Listener {
    /// Is called before the child is started.
    ///
    /// # Errors
    /// The command cannot be carried out: no child is started.
    fn prepare(&mut self, config: &Config) -> Result<(), CommandError>;

    /// Is called with each event of the child that the watch has no use for.
    fn hear(&mut self, event: Event);
}

struct NoListener;

impl Listener for NoListener {
    fn prepare(&mut self, _: &Config) -> Result<(), CommandError> {
        Ok(())
    }

    fn hear(&mut self, _: Event) {}
}

/// Whether this is the process for a module, which another of this program has started.
pub(super) fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs `command` in a process of its own.
///
/// # Errors
/// The configuration cannot be used, the process crashed or hung, or, in it, `command` failed.
pub(super) fn run(
    global: &Global,
    command: impl FnOnce(Config) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    run_with(setup::config(global)?, command)
}

/// [`run`] with a configuration that is loaded already.
///
/// # Errors
/// The process crashed or hung, or, in it, `command` failed.
pub(super) fn run_with(
    config: Config,
    command: impl FnOnce(Config) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    match start_with(config, &mut NoListener)? {
        Side::Child(config) => command(*config),
        Side::Parent(ended) => ended.map_err(CommandError::stage),
    }
}

/// Loads the configuration; starts the process for the module and waits for its end, where this is not that process.
///
/// # Errors
/// The configuration cannot be used, or the listener refuses it.
pub(super) fn start(global: &Global, listener: &mut dyn Listener) -> Result<Side, CommandError> {
    start_with(setup::config(global)?, listener)
}

/// [`start`] with a configuration that is loaded already.
///
/// # Errors
/// The listener refuses it, or this is not the user who loads the module.
pub(super) fn start_with(
    config: Config,
    listener: &mut dyn Listener,
) -> Result<Side, CommandError> {
    if child::connect()? {
        if let Some(folder) = &config.token.working_dir {
            // Where that fails, the check before the module is loaded says why.
            let _ = working_dir::enter(folder);
        }
        return Ok(Side::Child(Box::new(config)));
    }
    config.check_module_user().map_err(CommandError::stage)?;
    listener.prepare(&config)?;
    Ok(Side::Parent(parent::supervise(&config, &mut |event| {
        listener.hear(event);
    })))
}
