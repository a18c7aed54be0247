//! `audit`: runs the custody audit, and prints its report as text, JSON or HTML.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::audit::report::{Report, Subject};
use crate::audit::rule::{Profile, Severity};
use crate::audit::rules::CATEGORIES;
use crate::audit::{self, AuditOptions, Judgement, Verdict, html};
use clap::{Args, ValueEnum};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::signer::hardening::Measure;
use hsm_mtls::internal::working_dir;
use serde::Deserialize;

use super::json_notes::ChildStderr;
use super::output_file::{OutputFile, OutputOption, PRIVATE_MODE};
use super::{CommandError, Global, output, setup, signer, token_process};

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Configurations, of several environments too; without any, the one of --config
    files: Vec<PathBuf>,
    /// What the place is held to; without it, what the configuration's environment is
    #[arg(long, value_name = "PROFILE")]
    profile: Option<ProfileName>,
    /// Also try what must not be possible on disposable session keys: makes objects in the token for a
    /// moment, and may raise an alarm on an HSM
    #[arg(long)]
    active: bool,
    /// Look for copies of the key in the files of this folder; may be given several times
    #[arg(long, value_name = "FOLDER")]
    search: Vec<PathBuf>,
    /// Write the report to this file: one page that fetches nothing, to be read or printed
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace a file that is there; what the configurations name is never written over
    #[arg(long, requires = "html")]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    Production,
    Preprod,
    Development,
}

pub(super) fn audit(global: &Global, args: &AuditArgs) -> Result<ExitCode, CommandError> {
    // What other users could change is a finding of the report.
    let load = |file: &Path| Config::load_to_read(file).map_err(CommandError::stage);
    match args.files.as_slice() {
        [] => {
            let config = load(setup::config_path(global)?)?;
            let config = setup::of_one_token(global, config)?;
            token_process::run_with(config, |config| audit_and_print(global, args, &[config]))
        }
        files => {
            let configs: Vec<_> = files
                .iter()
                .map(|file| load(file))
                .collect::<Result<_, _>>()?;
            audit_and_print(global, args, &configs)
        }
    }
}

fn audit_and_print(
    global: &Global,
    args: &AuditArgs,
    configs: &[Config],
) -> Result<ExitCode, CommandError> {
    // The file is checked before the token is used. Only its owner can read it: the report lists the weaknesses of a bank.
    let option = OutputOption {
        content: "the report",
        path: args.html.as_deref(),
        force: args.force,
        mode: PRIVATE_MODE,
        json: global.json,
    };
    let page = OutputFile::claim(&option, &configs.iter().collect::<Vec<_>>())?;
    let to_stdout = page.as_ref().is_some_and(OutputFile::is_stdout);
    let report = match configs {
        [config] if args.files.is_empty() => audit_here(global, args, config),
        configs => audit_in_children(global, args, configs)?,
    };
    if let Some(page) = page {
        page.write(html::page(&report).as_bytes())?;
    }
    match global.json {
        true => output::json(&report)?,
        false if to_stdout => {}
        false => print(&report)?,
    }
    if let (Some(path), false) = (&args.html, to_stdout) {
        output::remark(&format!("the report is in {}", path.display()));
    }
    Ok(report.exit_code())
}

/// Audits one configuration in this process.
fn audit_here(global: &Global, args: &AuditArgs, config: &Config) -> Report {
    if args.active {
        output::remark(
            "--active makes session keys in the token and destroys them again; an HSM may raise an alarm",
        );
    }
    let profile = profile(args, &[config]);
    let hardening = |config: &Config| hardening(global, config);
    let options = AuditOptions {
        profile,
        active: args.active,
        search: args
            .search
            .iter()
            .map(|folder| working_dir::from_start(folder))
            .collect(),
        hardening: &hardening,
    };
    let subjects = audit::audit(config, &options, setup::attendance());
    Report::new(profile, args.active, subjects)
}

/// The profile of `--profile`; without it, that of the strictest environment.
fn profile(args: &AuditArgs, configs: &[&Config]) -> Profile {
    let production = |config: &&Config| config.environment.is_production();
    match args.profile {
        Some(ProfileName::Production) => Profile::Production,
        Some(ProfileName::Preprod) => Profile::Preprod,
        Some(ProfileName::Development) => Profile::Development,
        None if configs.iter().any(production) => Profile::Production,
        None => Profile::Preprod,
    }
}

/// The hardening measures of a signer process that is started to report them.
fn hardening(global: &Global, config: &Config) -> Result<Vec<Measure>, SignerError> {
    // A person would be asked for the PIN a second time.
    let is_typed = |pin: &&PinSource| matches!(pin, PinSource::Prompt | PinSource::ProtectedPath);
    match config.tokens().map(|token| &token.pin).find(is_typed) {
        Some(pin) => Err(SignerError::PinSource {
            pin_source: pin.clone(),
            why: "the PIN would be asked for once more",
        }),
        None => signer::hardening(global, config),
    }
}

/// Audits each configuration in a process of its own. A module is configured by environment variables, and two
/// configurations may give the same module different values.
fn audit_in_children(
    global: &Global,
    args: &AuditArgs,
    configs: &[Config],
) -> Result<Report, CommandError> {
    let profile = profile(args, &configs.iter().collect::<Vec<_>>());
    let subjects = configs
        .iter()
        .map(|config| audit_in_child(global, args, &config.path));
    let subjects = subjects.collect::<Result<Vec<_>, _>>()?;
    Ok(Report::new(profile, args.active, subjects.concat()))
}

/// The members of a child's report that go into this one.
#[derive(Deserialize)]
struct ChildReport {
    subjects: Vec<Subject>,
}

fn audit_in_child(
    global: &Global,
    args: &AuditArgs,
    file: &Path,
) -> Result<Vec<Subject>, CommandError> {
    let mut command = Command::new(signer::PROGRAM);
    command.arg("--config").arg(file).arg("--json");
    command.args((0..global.verbose).map(|_| "-v"));
    command.arg("audit");
    if let Some(profile) = args.profile.and_then(|named| named.to_possible_value()) {
        command.args(["--profile", profile.get_name()]);
    }
    if args.active {
        command.arg("--active");
    }
    for folder in &args.search {
        command.arg("--search").arg(folder);
    }
    // The child may ask a person for the PIN.
    command.stdin(Stdio::inherit());
    let output = command.output()?;
    let stderr = ChildStderr::parse(&output.stderr);
    let with_file = |note: &String| format!("{}: {note}", file.display());
    let notes = stderr.notes.iter().chain(&stderr.log_lines).map(with_file);
    notes.for_each(|note| output::remark(&note));
    let report: Result<ChildReport, _> = serde_json::from_slice(&output.stdout);
    report
        .map(|report| report.subjects)
        .map_err(|_| CommandError::Usage {
            message: match &stderr.error {
                Some((error, _)) => format!("{} could not be audited: {error}", file.display()),
                None => format!("{} could not be audited", file.display()),
            },
            hint: stderr.error.map_or_else(
                || {
                    let file = file.display();
                    format!("run `hsm-mtls --config {file} audit` by itself: it says why")
                },
                |(_, hint)| hint,
            ),
            code: output
                .status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::Bug, ExitCode::of),
        })
}

fn print(report: &Report) -> Result<(), CommandError> {
    let subjects = report.subjects.iter().map(Subject::without_repeated_error);
    for subject in subjects {
        output::heading(&format!(
            "{} ({}, profile {})",
            subject.heading(),
            subject.environment,
            subject.profile.name()
        ))?;
        output::line("")?;
        let good = subject.answer.can_leave == audit::conclusion::CanLeave::No;
        output::line("Can this private key leave the HSM?")?;
        output::verdict(good, &subject.answer.sentence)?;
        for reason in &subject.answer.rests_on {
            output::line(&format!("  {reason}"))?;
        }
        output::line(&format!(
            "\nWho can use it?\n{}",
            subject.answer.who_can_use_it
        ))?;
        if let Some(stopped) = &subject.stopped {
            output::line("")?;
            output::verdict(
                false,
                &format!("the audit got no further: {}", stopped.error),
            )?;
            output::line(&format!("  hint: {}", stopped.hint))?;
        }
        for category in CATEGORIES
            .iter()
            .filter(|category| category.name != "environments")
        {
            output::line("")?;
            output::heading(category.title)?;
            let judgements = category
                .rules
                .iter()
                .filter_map(|rule| subject.judgement_of(rule.id));
            judgements.into_iter().try_for_each(print_judgement)?;
        }
        output::line("")?;
    }
    if report.has_several_configurations() {
        output::heading("Several environments")?;
        report.environments.iter().try_for_each(print_judgement)?;
        output::line("")?;
    }
    let all = report
        .subjects
        .iter()
        .flat_map(|subject| &subject.judgements);
    let all = all.chain(&report.environments);
    let count = |verdict| {
        let with_verdict = all.clone().filter(|judgement| judgement.verdict == verdict);
        with_verdict.count()
    };
    output::line(&format!(
        "{} tried and refused, {} seen, {} claimed by the module, {} asserted by the operator, {} not answerable here",
        count(Verdict::TriedAndRefused),
        count(Verdict::Seen),
        count(Verdict::Claimed),
        count(Verdict::Asserted),
        count(Verdict::NotAnswerable)
    ))?;
    let summary = match report.findings {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    output::verdict(report.good, &summary)
}

fn print_judgement(judgement: &Judgement) -> Result<(), CommandError> {
    let severity = judgement
        .severity
        .map_or(String::new(), |severity| match severity {
            Severity::Note => " (note)".to_owned(),
            severity => format!(" ({severity})"),
        });
    output::judgement(
        judgement.is_finding(),
        judgement.verdict,
        &judgement.rule,
        &format!("{}{severity}", judgement.verdict.name()),
        &judgement.evidence,
    )
}
