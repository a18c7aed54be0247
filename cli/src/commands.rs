//! The command line: clap's tree of commands and options. Each command is in the file of its noun.

mod audit;
mod cert;
mod config;
mod csr;
pub(crate) mod error;
mod interrupt;
mod json_notes;
mod jwks;
mod jwt;
mod key;
mod ledger;
mod line_wrap;
pub(crate) mod log;
pub(crate) mod output;
mod output_file;
mod pin;
mod proxy;
mod request;
pub(crate) mod rotate;
mod running_proxy;
mod setup;
mod sig4_certificates;
mod signer;
pub(crate) mod status;
mod token;
pub(crate) mod token_process;
mod trust;
pub(crate) mod usage_error;
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::standard_error;

pub(crate) use error::CommandError;
use token::TokenCommand;

/// Proves who a bank is on every outbound TLS connection, with a private key that never leaves its HSM.
///
/// Exit codes: 0 done and good; 1 the check ran and its subject falls short; 2 usage or configuration;
/// 3 token not available; 4 no PIN, or PIN refused, locked or guarded; 5 network or peer; 70 a fault of this program;
/// 130 interrupted. `status` has those of monitoring plugins: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN.
#[derive(Parser)]
#[command(
    name = "hsm-mtls",
    version,
    propagate_version = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
pub(crate) struct Global {
    /// The configuration of one environment
    #[arg(long, value_name = "FILE", env = "HSM_MTLS_CONFIG", global = true, value_parser = setup::path_parser())]
    pub(crate) config: Option<PathBuf>,
    /// Of several tokens that hold a key for the connections, the one with this `name`
    #[arg(long, value_name = "NAME", global = true)]
    token: Option<String>,
    /// Print the result as JSON, and a failure as a JSON object on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to write logs to standard error; without it as text, with --json as JSON
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    /// Log more: -v what is sent, -vv each signature, -vvv everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(match self.json {
            true => LogFormat::Json,
            false => LogFormat::Text,
        })
    }
}

impl Cli {
    /// Whether it is a process of the proxy, or the signer of a command. Such a process releases standard error itself, which
    /// starts a thread: it first removes systemd's variables from its environment and enters Landlock, which leaves out threads
    /// that run already.
    pub(crate) fn is_service(&self) -> bool {
        matches!(
            self.command,
            Command::Proxy
                | Command::ProcessLauncher
                | Command::ConfigReader
                | Command::FrontEnd
                | Command::Signer(_)
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The token that holds the keys
    #[command(subcommand)]
    Token(TokenCommand),
    /// The guard that keeps wrong PINs from locking the token
    #[command(subcommand)]
    Pin(pin::PinCommand),
    /// The keys in the token
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make a certificate request, signed in the token
    ///
    /// The subject is C, O, OU, CN in this order, from [c3.subject] of the configuration or the flags.
    Csr(csr::CsrArgs),
    /// The certificate of C3, or of Sig4
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Trust anchors and CRLs: what is there, and what is newer
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// The record of every use of the key
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Can the key leave the HSM, and who can use it? The custody report
    ///
    /// What was tried is kept apart from what the module claims. Nothing in the token is changed; private
    /// components and wrapped keys are asked for by their length only. Ends with 1 where there is a finding.
    Audit(audit::AuditArgs),
    /// The published key set of the application (JWKS), from which the hub takes the Sig4 key
    #[command(subcommand)]
    Jwks(jwks::JwksCommand),
    /// The tokens of JWT Auth, signed by the Sig4 key
    #[command(subcommand)]
    Jwt(jwt::JwtCommand),
    /// Show mutual TLS to each service of the hub, step by step
    Verify(verify::VerifyArgs),
    /// One call to the hub, curl-like; redirects are shown, never followed
    ///
    /// Ends with 1 where the hub answers 400 or above.
    Request(request::RequestArgs),
    /// Replace a key and its certificate by new ones, side by side and step by step
    ///
    /// Each step may be repeated, and goes on where it was interrupted; `rotate status` says what comes next. The old pair
    /// stays in use until `rotate switch`, and in the token until `rotate retire`.
    #[command(subcommand)]
    Rotate(rotate::RotateCommand),
    /// Everything that has a date or can be down, on one screen, and what to do next
    ///
    /// Keys, certificates, CAs, CRLs, key set, token, last uses, proxy and rotation of each environment. No key is used, no PIN sent,
    /// and nothing fetched without --online. The exit codes are those of monitoring plugins, not those of the other commands: 0 OK;
    /// 1 WARNING; 2 CRITICAL; 3 UNKNOWN, also for a configuration or a command line that cannot be used.
    Status(status::StatusArgs),
    /// The process that holds module, PIN and ledger; started by the others, never by hand
    #[command(hide = true)]
    Signer(signer::SignerArgs),
    /// The process of the proxy that parses the network; started by `proxy`, never by hand
    #[command(hide = true)]
    FrontEnd,
    /// The process of the proxy that starts the others; started by `proxy`, never by hand
    #[command(hide = true)]
    ProcessLauncher,
    /// The process of the proxy that reads the configuration; started by `proxy`, never by hand
    #[command(hide = true)]
    ConfigReader,
    /// The local proxy: plain HTTP from applications of this machine, mutual TLS to the hub
    ///
    /// Runs until SIGTERM or SIGINT, and then answers what is under way. SIGHUP: certificate, key, trust
    /// anchors, caller tokens and access log are opened anew; what fails stays as it was.
    Proxy,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Parse and check the file, and say what was derived from it
    ///
    /// Given several files, it also opens their tokens and looks for keys that two environments share.
    Check {
        /// Configurations; without any, the one of --config
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// The private keys in the token with what it claims about them
    List {
        #[command(flatten)]
        role: setup::RoleOption,
    },
    /// Make a key pair in the token: non-extractable, for signing only
    Generate(GenerateArgs),
}

#[derive(Args)]
struct GenerateArgs {
    /// What kind of key; the scheme accepts rsa-2048 only
    #[arg(long = "type", value_name = "TYPE", default_value = "rsa-2048")]
    key_type: KeyType,
    /// CKA_LABEL; without it, the `object` of `key` in [c3], or with --sig4 in [sig4]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    label: Option<String>,
    /// PIN source of the role that makes keys: file:/path, env:NAME, credential:NAME,
    /// command:PROGRAM, prompt, protected-path or empty; without it, the `pin` of [[token]]
    #[arg(long, value_name = "SOURCE")]
    pin_source: Option<PinSource>,
    /// Which role logs in: user, so, or a number of the vendor; without it, the `user` of [[token]]
    #[arg(long, value_name = "ROLE", value_parser = token::parse_role)]
    user_type: Option<hsm_mtls::internal::token::Role>,
    /// Which user of that role, where the token has named ones; without it and with the role of
    /// [[token]], the `user_name` there
    #[arg(long, value_name = "NAME", value_parser = token::parse_user_name)]
    user_name: Option<String>,
    /// Keep a key that the token says can also decrypt or unwrap; an extractable one is never kept
    #[arg(long)]
    accept_claims: bool,
    #[command(flatten)]
    role: setup::RoleOption,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyType {
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
    #[value(name = "p-256")]
    P256,
    #[value(name = "p-384")]
    P384,
    #[value(name = "p-521")]
    P521,
    #[value(name = "ed25519")]
    Ed25519,
}

/// Parses the command line, starts logging, runs the command, prints error and hint, and ends the process.
///
/// The process ends by `_exit`, without the exit handlers of the PKCS#11 module and of its libraries: they free what
/// threads that are still in a call use, or crash by themselves (SoftHSMv2#729, libp11#500).
pub fn main() -> ! {
    log::prepare();
    let code = match usage_error::parse() {
        Ok(cli) => run(cli),
        Err(code) => code,
    };
    standard_error::flush();
    token_process::end(code);
    signal_hook::low_level::exit(i32::from(code as u8))
}

fn run(cli: Cli) -> ExitCode {
    let as_json = cli.global.json;
    log::start(&cli);
    if !cli.is_service() {
        standard_error::release();
    }
    // A panic is a bug, with an exit code of its own. The panic hook has logged it already.
    match catch_unwind(AssertUnwindSafe(|| dispatch(cli))) {
        Ok(Ok(code)) => {
            output::buffered_notes(as_json);
            code
        }
        Ok(Err(error)) => output::failure(&error, as_json),
        Err(_) => output::panicked(as_json),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, CommandError> {
    let global = &cli.global;
    match cli.command {
        Command::Config(ConfigCommand::Check { files }) => config::check(global, files),
        Command::Token(TokenCommand::List { role }) => token_process::run(global, |config| {
            role.run(&config, |view| token::list(global, view))
        }),
        Command::Token(TokenCommand::Check {
            role,
            signatures,
            load,
            concurrency,
            report,
        }) => {
            let load_test = load.map(|total| token::LoadTest { total, concurrency });
            token::check(global, role, signatures, load_test, &report)
        }
        Command::Pin(command) => {
            token_process::run(global, |config| pin::run(global, &config, command))
        }
        Command::Key(KeyCommand::List { role }) => token_process::run(global, |config| {
            role.run(&config, |view| key::list(global, view))
        }),
        Command::Key(KeyCommand::Generate(args)) => {
            token_process::run(global, |config| key::generate(global, &config, args))
        }
        Command::Csr(args) => {
            token_process::run(global, |config| csr::request(global, &config, args))
        }
        Command::Cert(command) => cert::run(global, command),
        Command::Trust(command) => trust::run(global, &command),
        Command::Ledger(command) => ledger::run(global, &command),
        Command::Audit(args) => audit::audit(global, &args),
        Command::Jwks(command) => jwks::run(global, command),
        Command::Jwt(command) => jwt::run(global, command),
        Command::Verify(args) => verify::verify(global, args),
        Command::Request(args) => request::request(global, args),
        Command::Rotate(command) => rotate::run(global, command),
        Command::Status(args) => status::status(global, &args),
        Command::Signer(args) => signer::serve(global, args),
        Command::FrontEnd => proxy::front_end(global),
        Command::ProcessLauncher => proxy::launch_processes(global),
        Command::ConfigReader => proxy::read_configuration(global),
        Command::Proxy => proxy::proxy(global),
    }
}
