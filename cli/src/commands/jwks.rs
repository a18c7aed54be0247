//! `jwks check`: whether the hub finds our Sig4 key where it looks for it, and whether that has been so for long enough.

mod age;
mod replaced;
mod source;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::jwks_fetch::FetchedSet;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::sig4::check_kid;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::jwks::JwkSet;
use hsm_mtls::internal::jwks::judgement::{Aspect, Finding, judge};
use serde_json::json;
use url::Url;

use super::sig4_certificates::{self, Needed, Sig4Certificates};
use super::{CommandError, Global, output};
use crate::check_steps::{Outcome, Steps};
use crate::verify::KeySetReport;
use age::Age;
pub(super) use source::Source;

#[derive(Subcommand)]
pub(super) enum JwksCommand {
    /// Fetch the key set as the hub does, and judge it against the Sig4 certificate
    ///
    /// Ends with 1 where the hub would not accept our tokens, or not surely: also in the first 10 minutes after the
    /// publication. Ends with 5 where the set cannot be fetched. No client certificate is offered, and no redirect followed.
    Check(CheckArgs),
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Another URL than `jwks` of [sig4], or the one derived from the certificate
    #[arg(long, value_parser = source::parse_url, conflicts_with = "file")]
    url: Option<Url>,
    /// A copy of the set in a file
    #[arg(long)]
    file: Option<PathBuf>,
}

/// The name of the step that fetches the set.
pub(super) const FETCH: &str = "fetch";
const SET: &str = "set";
const PUBLISHED: &str = "published";
const CACHES: &str = "caches";
const RETIRED: &str = "retired keys";

/// The name of the step for what is judged.
fn name(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Kid => "kid",
        Aspect::Key => "key",
        Aspect::Certificate => "x5c",
        Aspect::Purpose => "use and alg",
        Aspect::OtherKeys => "other keys",
    }
}

pub(super) fn run(global: &Global, command: JwksCommand) -> Result<ExitCode, CommandError> {
    let JwksCommand::Check(args) = command;
    sig4_certificates::run(global, Needed::Sig4, |certificates| {
        check(global, &certificates, args)
    })
}

fn check(
    global: &Global,
    certificates: &Sig4Certificates,
    args: CheckArgs,
) -> Result<ExitCode, CommandError> {
    let Sig4Certificates { config, sig4, .. } = certificates;
    let kid = sig4.x5t_s256();
    check_kid(config, &kid).map_err(CommandError::stage)?;
    let source = match (args.url, args.file) {
        (Some(url), _) => Source::Url(url),
        (None, Some(path)) => Source::File(path),
        (None, None) => Source::of_certificate(config, sig4)?,
    };
    let mut steps = Steps::default();
    let fetched = fetch(config, &source, &mut steps)?;
    let age = match &fetched {
        Some(fetched) => judge_set(config, &source, sig4, fetched, &mut steps)?,
        None => None,
    };
    let passed = steps.exit_code() == ExitCode::Good;
    if global.json {
        let fetched = fetched.unwrap_or_default();
        output::json(&json!({
            "schema": 0,
            "source": source.describe(),
            "kid": kid,
            "passed": passed,
            "first_seen": age.as_ref().map(Age::first_seen),
            "published_for_seconds": age.as_ref().map(|age| age.seconds),
            "answer": {
                "date": fetched.date,
                "last_modified": fetched.last_modified,
                "etag": fetched.etag,
                "age": fetched.age,
                "max_age": fetched.max_age,
            },
            "steps": steps,
        }))?;
    } else {
        output::heading("JWKS of the application")?;
        output::fields(&[
            ("from", source.describe()),
            ("our kid", kid),
            ("valid until", sig4.not_after()),
        ])?;
        output::steps(steps.list())?;
        let text = match passed {
            true => "the hub finds our key",
            false => "the hub does NOT surely accept our tokens",
        };
        output::verdict(passed, text)?;
    }
    Ok(steps.exit_code())
}

/// The check of the published set as a part of `verify`. A set that cannot be fetched is a note there: the way to the keystore is
/// another than that to the hub, and often closed.
pub(super) fn preflight(config: &Config, sig4: &Certificate) -> Result<KeySetReport, CommandError> {
    let source = Source::of_certificate(config, sig4)?;
    let mut steps = Steps::default();
    steps.begin();
    match source.load(config) {
        Ok(fetched) => {
            let length = fetched.body.len();
            steps.good(FETCH, format!("{length} bytes"));
            judge_set(config, &source, sig4, &fetched, &mut steps)?;
        }
        Err(CommandError::Stage(super::error::Error::Fetch(error))) => {
            steps.note(FETCH, format!("not judged: {error}"), error.hint());
        }
        Err(other) => return Err(other),
    }
    Ok(KeySetReport {
        source: source.describe(),
        steps,
    })
}

/// The check of the published set for a key that is to be used: a set that cannot be fetched is a fault here. Returns where the set
/// is, and the set.
pub(super) fn judge_published(
    config: &Config,
    sig4: &Certificate,
    steps: &mut Steps,
) -> Result<(String, Option<JwkSet>), CommandError> {
    let source = Source::of_certificate(config, sig4)?;
    let fetched = fetch(config, &source, steps)?;
    if let Some(fetched) = &fetched {
        judge_set(config, &source, sig4, fetched, steps)?;
    }
    // What is wrong with it the steps say.
    let set = fetched.and_then(|fetched| JwkSet::parse(&fetched.body).ok());
    Ok((source.describe(), set))
}

/// Reads the set. `None`: it cannot be fetched, which the steps say.
fn fetch(
    config: &Config,
    source: &Source,
    steps: &mut Steps,
) -> Result<Option<FetchedSet>, CommandError> {
    steps.begin();
    match source.load(config) {
        Ok(fetched) => {
            let length = fetched.body.len();
            steps.good(FETCH, format!("{length} bytes from {}", source.describe()));
            Ok(Some(fetched))
        }
        Err(CommandError::Stage(super::error::Error::Fetch(error))) => {
            let detail = format!("{} ({})", error, error.stage());
            steps.bad(FETCH, detail, error.hint(), error.exit_code());
            let rest = Aspect::ALL.map(name);
            steps.end(&[SET]);
            steps.end(&rest);
            steps.end(&[PUBLISHED, CACHES]);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Judges the set, and, where it was fetched, how long the key has been in it.
fn judge_set(
    config: &Config,
    source: &Source,
    sig4: &Certificate,
    fetched: &FetchedSet,
    steps: &mut Steps,
) -> Result<Option<Age>, CommandError> {
    let set = match JwkSet::parse(&fetched.body) {
        Ok(set) => set,
        Err(error) => {
            steps.fault(SET, error.to_string(), error.hint(), error.exit_code());
            steps.end(&Aspect::ALL.map(name));
            steps.end(&[PUBLISHED, CACHES]);
            return Ok(None);
        }
    };
    let count = set.keys().len();
    let plural = if count == 1 { "key" } else { "keys" };
    steps.seen(SET, Outcome::Good, format!("{count} {plural}"));
    let findings = judge(&set, sig4);
    let is_published = !set.with_kid(&sig4.x5t_s256()).is_empty();
    for aspect in Aspect::ALL {
        show_aspect(aspect, &findings, is_published, steps);
    }
    let before = replaced::certificates(&sig4_certificates::view(config)?, sig4);
    replaced::show_active(&set, &before, steps);
    let Source::Url(url) = source else {
        return Ok(None);
    };
    let age = age::check(config, sig4, url, fetched, is_published, steps);
    if let Some(retired) = source.retired(sig4) {
        check_retired(config, &retired, sig4, &before, steps)?;
    }
    Ok(age)
}

fn show_aspect(aspect: Aspect, findings: &[Finding], is_published: bool, steps: &mut Steps) {
    let about = findings.iter().filter(|found| found.aspect() == aspect);
    let (notes, faults): (Vec<_>, Vec<_>) = about.partition(|found| found.is_note());
    let text = |found: &[&Finding]| {
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        found.join("; ")
    };
    let depends_on_key = matches!(aspect, Aspect::Key | Aspect::Certificate | Aspect::Purpose);
    match (faults.first(), notes.is_empty()) {
        (Some(first), _) => {
            let detail = text(&faults);
            steps.fault(name(aspect), detail, first.hint(), ExitCode::Finding);
        }
        (None, false) => steps.seen(name(aspect), Outcome::Note, text(&notes)),
        (None, true) if depends_on_key && !is_published => {
            steps.seen(name(aspect), Outcome::NotReached, "");
        }
        (None, true) => {
            let detail = match aspect {
                Aspect::Kid => "ours is there, once",
                Aspect::Key => "its key is that of our certificate (n and e)",
                Aspect::Certificate => "its certificate is ours",
                Aspect::Purpose => "sig and PS256",
                Aspect::OtherKeys => "none that matters",
            };
            steps.seen(name(aspect), Outcome::Good, detail);
        }
    }
}

/// Looks for our `kid` among the organisation's retired keys. Whatever is found is a note.
fn check_retired(
    config: &Config,
    url: &Url,
    sig4: &Certificate,
    before: &[Certificate],
    steps: &mut Steps,
) -> Result<(), CommandError> {
    steps.begin();
    let detail = match source::fetch(config, url)? {
        Err(error) => format!("not known: {error}"),
        Ok(fetched) => match JwkSet::parse(&fetched.body) {
            Err(error) => format!("not known: {error}"),
            Ok(set) if set.with_kid(&sig4.x5t_s256()).is_empty() => {
                let count = set.keys().len();
                let old = replaced::retired(&set, before);
                let detail = format!("{count} at {url}: ours is not among them{old}");
                steps.good(RETIRED, detail);
                return Ok(());
            }
            Ok(_) => {
                steps.good_but(
                    RETIRED,
                    format!("our kid is among them ({url})"),
                    "the Trust Framework holds the certificate for retired: was another one issued since? Then install that one",
                );
                return Ok(());
            }
        },
    };
    steps.seen(RETIRED, Outcome::Note, detail);
    Ok(())
}
