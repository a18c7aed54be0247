//! Every misbehaviour of a hub has a diagnosis of its own, with advice, and docs/diagnoses.md shows
//! what `hsm-mtls verify` really says.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::thread;

use crate::common::bank::Bank;
use crate::common::misbehaving::answer::Answer;
use crate::common::misbehaving::catalogue::{self, Entry};
use crate::common::misbehaving::certificate::authority;
use crate::common::misbehaving::hello::Hello;
use crate::common::misbehaving::{Behaviour, MisbehavingHub};
use rustls::SupportedProtocolVersion;
use serde_json::Value;

const WORKERS: usize = 2;
/// Set, it writes the table instead of comparing it.
const BLESS: &str = "HSM_MTLS_BLESS";
const TABLE: &str = "docs/diagnoses.md";
const INTRODUCTION: &str = "\
# What `hsm-mtls verify` says, and what to do

Each row is a thing that a hub, or something on the way to it, can do wrong, with what `hsm-mtls verify` answers: the step
that fails, what it says there, and its advice. The rows were not written by hand: `tests/tls/diagnoses.rs` plays each hub,
runs the command against it, and fails where this table is not what was printed.

To find your case, search for the words that `verify` printed. *Exit* is the exit code: 5 where network or peer failed, 1
where the hub answered and the answer falls short, 0 where all is well but something is worth knowing. *TLS* says with
which versions the row was seen; `any` where it happens before one is agreed on. `PORT` and `TIME` stand for what differs
each time.

";

/// One thing that `verify` finds fault with, or that it notes and has advice for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    step: String,
    detail: String,
    hint: String,
}

/// What `verify` makes of one misbehaviour.
#[derive(Clone, Debug)]
struct Row {
    entry: Entry,
    tls: &'static str,
    /// The step that fails first comes first.
    findings: Vec<Finding>,
    exit: i32,
}

impl Row {
    fn name(&self) -> String {
        format!("{} (TLS {})", self.entry.does, self.tls)
    }

    fn hints(&self) -> Vec<&str> {
        let hints = self.findings.iter();
        hints.map(|finding| finding.hint.as_str()).collect()
    }
}

/// Rows that say the same because the client sees the same, and why.
const ALIKE: [(&str, &str, &str); 1] = [(
    "closes the connection at our certificate, without an alert (TLS 1.3)",
    "closes the connection without an answer, without the end of TLS (TLS 1.3)",
    "the client's part of the handshake is over before the server has read the certificate",
)];

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(observe);

/// Meets every hub once, with each version of TLS.
fn observe() -> Vec<Row> {
    let all = catalogue::all().into_iter().flat_map(|entry| {
        let versions = entry.versions().into_iter();
        versions.map(move |(tls, version)| (entry, tls, version))
    });
    let todo = Mutex::new(all.enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut bank = Bank::new();
                bank.certify("rsa-2048");
                // Not the machine's: what the command says must not depend on it.
                bank.write("public.pem", &authority("A Public CA").0);
                loop {
                    let next = todo.lock().unwrap().next();
                    let Some((place, (entry, tls, version))) = next else {
                        break;
                    };
                    let row = meet(&mut bank, entry, tls, version);
                    done.lock().unwrap().push((place, row));
                }
            });
        }
    });
    let mut rows = done.into_inner().unwrap();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn meet(
    bank: &mut Bank,
    entry: Entry,
    tls: &'static str,
    version: &'static SupportedProtocolVersion,
) -> Row {
    let hub = MisbehavingHub::start(&bank.framework, version, entry.behaviour);
    bank.configure(|settings| settings.hub_lines = patience(entry.behaviour).to_owned());
    bank.hub_at(hub.port());
    let store: [(&str, &Path); 1] = [("SSL_CERT_FILE", &bank.path("public.pem"))];
    let run = bank.run_with(&["verify", "--json"], &store);
    let report = run.json();
    let steps = report["services"][0]["steps"].as_array().unwrap();
    let text = |value: &Value| normalised(value.as_str().unwrap_or_default(), hub.port());
    let finding = |step: &&Value| Finding {
        step: text(&step["name"]),
        detail: text(&step["detail"]),
        hint: text(&step["hint"]),
    };
    let of = |outcome: &'static str| steps.iter().filter(move |step| step["outcome"] == outcome);
    // A note without advice asks for nothing, so it is no diagnosis while there is another.
    let bad = of("bad");
    let noted = of("note").filter(|step| step["hint"].is_string());
    let mut findings: Vec<Finding> = bad.chain(noted).map(|step| finding(&step)).collect();
    if findings.is_empty() {
        findings = of("note").map(|step| finding(&step)).collect();
    }
    Row {
        entry,
        tls,
        findings,
        exit: run.code,
    }
}

/// Time-outs as short as the hubs that need them allow; those of the others are never reached.
fn patience(behaviour: Behaviour) -> &'static str {
    match behaviour {
        Behaviour::Hello(Hello::Swallows | Hello::SwallowsLarge) => "connect_timeout = \"1s\"",
        Behaviour::Answer(Answer::Silence) => "response_timeout = \"1s\"",
        _ => "",
    }
}

fn expected_exit(behaviour: Behaviour) -> i32 {
    match behaviour {
        Behaviour::Answer(answer) => match answer {
            // The session is good: what is said of it is worth knowing, and no failure.
            Answer::ClockAhead | Answer::ClockBehind | Answer::NoCertificate => 0,
            Answer::Html
            | Answer::NotEstablished
            | Answer::NotConnected
            | Answer::AnotherSubject
            | Answer::AnotherIssuer => 1,
            _ => 5,
        },
        _ => 5,
    }
}

/// Takes out what differs each time: the port, points in time, and by how many seconds a clock is
/// off, which depends on where in a second it was looked at.
fn normalised(text: &str, port: u16) -> String {
    let text = text.replace(&format!(":{port}"), ":PORT");
    let bare = |word: &str| -> String {
        let around = |c: char| !c.is_ascii_alphanumeric();
        word.trim_matches(around).to_owned()
    };
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let replaced = words.iter().enumerate().map(|(place, word)| {
        let next = words.get(place + 1).map(|next| bare(next));
        let seconds = matches!(next.as_deref(), Some("s" | "seconds"));
        let bare = bare(word);
        match bare.parse::<u64>() {
            Ok(290..=310) if seconds => word.replace(&bare, "300"),
            Ok(1_000_000_000..) => word.replace(&bare, "TIME"),
            _ if is_time(&bare) => word.replace(&bare, "TIME"),
            _ => (*word).to_owned(),
        }
    });
    replaced.collect()
}

fn is_time(word: &str) -> bool {
    let of_time = |c: char| c.is_ascii_digit() || ":-.TZ".contains(c);
    word.matches(':').count() == 2 && word.chars().all(of_time)
}

#[test]
fn each_ends_with_the_exit_code_of_its_kind() {
    check(ROWS.iter().filter_map(|row| {
        let expected = expected_exit(row.entry.behaviour);
        (row.exit != expected).then(|| {
            let name = row.name();
            format!("{name}: exit {} where {expected} belongs", row.exit)
        })
    }));
}

#[test]
fn each_comes_with_advice() {
    check(ROWS.iter().filter_map(|row| {
        let without = row.findings.is_empty() || row.hints().contains(&"");
        without.then(|| format!("{}: no advice", row.name()))
    }));
}

#[test]
fn each_has_a_diagnosis_of_its_own() {
    let pairs = ROWS.iter().enumerate().flat_map(|(place, row)| {
        let others = ROWS[place + 1..].iter();
        others.map(move |other| (row, other))
    });
    // The report names the version, so the same words mean two things where it differs.
    let of_two = pairs.filter(|(one, other)| {
        one.entry.behaviour != other.entry.behaviour
            && (one.tls == other.tls || [one.tls, other.tls].contains(&"any"))
    });
    let mut met = 0;
    let collisions: Vec<_> = of_two
        .filter(|(one, other)| one.findings == other.findings)
        .map(|(one, other)| (one.name(), other.name()))
        .filter(|(one, other)| {
            let allowed = ALIKE.iter().any(|(a, b, _)| a == one && b == other);
            met += usize::from(allowed);
            !allowed
        })
        .map(|(one, other)| format!("said of both: {one}; {other}"))
        .collect();
    check(collisions.into_iter());
    assert_eq!(met, ALIKE.len(), "pairs that are told apart stay in ALIKE");
}

#[test]
fn the_advice_does_not_depend_on_the_version_of_tls() {
    let pairs = ROWS.iter().zip(ROWS.iter().skip(1));
    let of_one = pairs.filter(|(one, other)| one.entry.behaviour == other.entry.behaviour);
    let differing = of_one.filter(|(one, other)| one.hints() != other.hints());
    check(differing.map(|(one, other)| {
        let (old, new) = (one.hints().join(" / "), other.hints().join(" / "));
        format!("{}: {old}\n  but with TLS 1.3: {new}", one.entry.does)
    }));
}

#[test]
fn the_table_is_what_the_command_says() {
    let path: PathBuf = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(TABLE);
    let table = table();
    if std::env::var_os(BLESS).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let changed = table.lines().filter(|line| !kept.contains(line));
    let changed: Vec<_> = changed.collect();
    assert!(
        kept == table,
        "{TABLE} is not what `verify` says; {BLESS}=1 cargo test --test tls diagnoses writes it anew:\n{}",
        changed.join("\n")
    );
}

/// `verify` advises small groups where a box on the way does not take our hello.
#[test]
fn a_small_hello_gets_through_where_large_ones_do_not() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| settings.hub_lines = "[tls]\ngroups = [\"x25519\"]".to_owned());
    for hello in [
        Hello::SwallowsLarge,
        Hello::ClosesOnLarge,
        Hello::ResetsOnLarge,
    ] {
        let behaviour = Behaviour::Hello(hello);
        let hub = MisbehavingHub::start(&bank.framework, &rustls::version::TLS13, behaviour);
        bank.hub_at(hub.port());
        bank.run(&["verify"]).expect(0);
    }
}

/// Fails with every objection and all that was seen.
fn check(objections: impl Iterator<Item = String>) {
    let objections: Vec<_> = objections.collect();
    assert!(
        objections.is_empty(),
        "{}\n\n{}",
        objections.join("\n"),
        table()
    );
}

fn table() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("| the hub | TLS | step | what `verify` says | what to do | exit |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    let alike = |one: &Row, other: &Row| {
        let seen = |row: &Row| (row.entry.behaviour, row.findings.clone(), row.exit);
        seen(one) == seen(other)
    };
    for rows in ROWS.chunk_by(alike) {
        let row = &rows[0];
        let cell = |of: fn(&Finding) -> &String| {
            let lines: Vec<_> = row.findings.iter().map(|found| plain(of(found))).collect();
            lines.join("<br>")
        };
        let (does, exit) = (plain(row.entry.does), row.exit);
        let tls: Vec<_> = rows.iter().map(|row| row.tls).collect();
        let tls = tls.join(", ");
        let [step, detail, hint] = [
            cell(|found| &found.step),
            cell(|found| &found.detail),
            cell(|found| &found.hint),
        ];
        writeln!(
            text,
            "| {does} | {tls} | {step} | {detail} | {hint} | {exit} |"
        )
        .unwrap();
    }
    text
}

/// What Markdown would read as its own; in code it reads nothing but the bar.
fn plain(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(place, part)| {
        let part = part.replace('|', "\\|");
        match place % 2 {
            0 => part.replace('<', "&lt;").replace('*', "\\*"),
            _ => part,
        }
    });
    parts.collect::<Vec<_>>().join("`")
}
