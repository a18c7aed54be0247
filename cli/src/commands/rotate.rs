//! `rotate`: replaces a key and its certificate by new ones, side by side. A certificate of the scheme lives 13 months, and what
//! goes wrong at its end goes wrong for all connections at once: no overlap, a certificate of another key, an old key that is gone
//! before the new one is in use.

mod configuration_file;
mod error;
mod install;
mod key_uses;
mod names;
mod new_key;
mod progress;
mod reload;
mod retire;
mod rotation;
mod start;
mod state;
mod status;
mod switch;
mod test;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;

use super::setup::RoleOption;
use super::{CommandError, Global, setup, token_process};
pub(crate) use error::RotationError;
pub(super) use key_uses::{is_service, seconds};
pub(super) use progress::{Progress, progress};

#[derive(Subcommand)]
pub(super) enum RotateCommand {
    /// Make a new key beside the one in use, and a request with the same subject
    ///
    /// The key is of the kind and size of the old one, with a label and a CKA_ID of its own. The request goes to the Trust
    /// Framework; repeated, this prints it again.
    Start(StartArgs),
    /// Check the new certificate, and store it beside the one in use
    Install {
        /// PEM: the leaf first, then, if there is one, its Issuing CA
        file: PathBuf,
        #[command(flatten)]
        options: StepOptions,
    },
    /// Show that the new pair works, while the old one is in use
    ///
    /// C3: mutual TLS with both services, as `verify`. Sig4: the key set, whether the key has been published for 10 minutes, and
    /// a token, judged as a hub would. Ends with 1 or 5 where something falls short.
    Test {
        #[command(flatten)]
        options: StepOptions,
    },
    /// Have the configuration name the new pair, which is proved first
    Switch {
        /// Switch although `rotate test` has not passed
        #[arg(long)]
        without_test: bool,
        #[command(flatten)]
        reload: ReloadOption,
        #[command(flatten)]
        options: StepOptions,
    },
    /// Have the configuration name the old pair again
    Back {
        #[command(flatten)]
        reload: ReloadOption,
        #[command(flatten)]
        options: StepOptions,
    },
    /// End the rotation: destroy the old key in the token, or keep it there
    ///
    /// Only when the ledger shows that the new key signs, and the old one has not for a day.
    Retire(RetireArgs),
    /// End a rotation in which nothing was switched
    Abandon {
        /// Destroy the new key too: its label, which says that this one is meant
        #[arg(long, value_name = "LABEL")]
        destroy: Option<String>,
        #[command(flatten)]
        options: StepOptions,
    },
    /// Where the rotation is, what comes next, and by when
    Status {
        #[command(flatten)]
        role: RoleOption,
    },
}

#[derive(Args)]
pub(super) struct StepOptions {
    /// Say what would be done; nothing is changed, and no key used
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    role: RoleOption,
}

#[derive(Args)]
pub(super) struct StartArgs {
    /// CKA_LABEL of the new key; without it, that of the old one with the date
    #[arg(long, conflicts_with = "key", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    label: Option<String>,
    /// The new key, where a key ceremony made it: its PKCS#11 URI
    #[arg(long, value_name = "URI")]
    key: Option<String>,
    /// Keep a key that the token says can also decrypt or unwrap; an extractable one is never kept
    #[arg(long, conflicts_with = "key")]
    accept_claims: bool,
    /// Write the request (PEM) here instead of to standard output (-)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there; what the configuration names is never written over
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    options: StepOptions,
}

#[derive(Args)]
pub(super) struct ReloadOption {
    /// The process id of the proxy: it is sent SIGHUP, and watched until it has taken the pair or refused it
    #[arg(long = "reload", value_name = "PID")]
    pid: Option<u32>,
}

#[derive(Args)]
pub(super) struct RetireArgs {
    /// How long the old key must not have signed: 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    after: Duration,
    /// Destroy the old key: its label, which says that this one is meant
    #[arg(long, value_name = "LABEL", conflicts_with = "keep")]
    destroy: Option<String>,
    /// Leave the old key in the token, for another role to destroy
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    options: StepOptions,
}

/// Parses a time in seconds, minutes, hours or days.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text.get(digits.len()..) {
        Some("s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3600),
        Some("d") => Some(86_400),
        _ => None,
    };
    let seconds = digits.parse::<u32>().ok().zip(scale);
    seconds
        .map(|(number, scale)| Duration::from_secs(u64::from(number) * scale))
        .ok_or_else(|| "write a time as 30m, 24h or 7d".to_owned())
}

pub(super) fn run(global: &Global, command: RotateCommand) -> Result<ExitCode, CommandError> {
    use RotateCommand as C;
    refuse_several_tokens(global)?;
    match command {
        C::Start(args) if args.options.dry_run => {
            let config = setup::config(global)?;
            of_role(&args.options, &config, |view| {
                start::plan(global, &config, view, &args)
            })
        }
        C::Start(args) => token_process::run(global, |config| {
            of_role(&args.options, &config, |view| {
                start::start(global, &config, view, &args)
            })
        }),
        C::Install { file, options } if options.dry_run => {
            let config = setup::config(global)?;
            of_role(&options, &config, |view| {
                install::plan(global, &config, view, &file)
            })
        }
        C::Install { file, options } => token_process::run(global, |config| {
            of_role(&options, &config, |view| {
                install::install(global, &config, view, &file)
            })
        }),
        C::Test { options } => {
            let config = setup::config(global)?;
            of_role(&options, &config, |view| {
                test::test(global, &config, view, options.dry_run)
            })
        }
        C::Switch {
            without_test,
            reload,
            options,
        } => {
            let config = setup::config(global)?;
            of_role(&options, &config, |view| {
                let change = switch::Change {
                    without_test,
                    reload: reload.pid,
                    dry_run: options.dry_run,
                };
                switch::switch(global, &config, view, &change)
            })
        }
        C::Back { reload, options } => {
            let config = setup::config(global)?;
            of_role(&options, &config, |view| {
                let change = switch::Change {
                    without_test: true,
                    reload: reload.pid,
                    dry_run: options.dry_run,
                };
                switch::back(global, &config, view, &change)
            })
        }
        C::Retire(args) if args.options.dry_run => {
            let config = setup::config(global)?;
            of_role(&args.options, &config, |view| {
                retire::plan(global, &config, view, &args)
            })
        }
        C::Retire(args) => token_process::run(global, |config| {
            of_role(&args.options, &config, |view| {
                retire::retire(global, &config, view, &args)
            })
        }),
        C::Abandon { destroy, options } if options.dry_run => {
            let config = setup::config(global)?;
            of_role(&options, &config, |view| {
                retire::plan_to_abandon(global, &config, view, destroy.as_deref())
            })
        }
        C::Abandon { destroy, options } => token_process::run(global, |config| {
            of_role(&options, &config, |view| {
                retire::abandon(global, &config, view, destroy.as_deref())
            })
        }),
        C::Status { role } => {
            let config = setup::config_to_read(global)?;
            role.run(&config, |view| status::show(global, &config, view))
        }
    }
}

/// A rotation replaces key and certificate of [c3]: a clone's would be left behind.
fn refuse_several_tokens(global: &Global) -> Result<(), CommandError> {
    let config = Config::load_to_read(setup::config_path(global)?).map_err(CommandError::stage)?;
    match config.key_token_names().as_slice() {
        [] => Ok(()),
        names => Err(CommandError::usage(
            format!(
                "a rotation is of one token, and several hold a key for the connections: {}",
                names.join(", ")
            ),
            "make the new key with `key generate --token NAME`, its request with `csr --token NAME`, and let the configuration name both; \
             docs/several-tokens.md",
        )),
    }
}

fn of_role(
    options: &StepOptions,
    config: &Config,
    step: impl FnOnce(&Config) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    options.role.run(config, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("0s"), Ok(0));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "24", "h", "-1h", "1.5h", "1w", "99999999999h", "1 h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
