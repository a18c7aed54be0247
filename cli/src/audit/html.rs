//! The report as one file of HTML that fetches nothing and runs nothing, and can be printed on A4: the
//! answer first, then the findings, then each rule with what it rests on.

mod chart;
mod style;
mod word_breaks;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::conclusion::Leave;
use super::finding::{Judgement, Verdict};
use super::report::{Report, Subject};
use super::rule::{Rule, rule};
use super::rules::{CATEGORIES, Category};
use word_breaks::words;

/// Writes the report out.
pub fn page(report: &Report) -> String {
    let subjects = report.subjects.iter().map(Subject::reason_said_once);
    let subjects: Vec<_> = subjects.collect();
    let title = format!("Custody audit, {}", report.made);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style::SHEET)) }
            }
            body {
                header {
                    h1 { "Custody audit" }
                    p.made {
                        "Made " (report.made) " by " (report.made_by) ", profile " b { (report.profile.name()) }
                        @if report.active { ", with trials on disposable keys" }
                        @else { "; nothing in the token was changed" }
                    }
                }
                @for subject in &subjects { (first(report, subject)) }
                @if report.subjects.len() > 1 { (environments(report)) }
                (legend())
                @for subject in &subjects { (details(report, subject)) }
                (sources())
            }
        }
    };
    page.into_string()
}

/// What has to be on the first page.
fn first(report: &Report, subject: &Subject) -> Markup {
    let answer = &subject.answer;
    let class = match answer.can_leave {
        Leave::No => "no",
        Leave::Yes => "yes",
        Leave::MayHaveLeft | Leave::NoHsm => "may",
        Leave::NotAnswerable => "open",
    };
    let mut findings: Vec<_> = subject
        .judgements
        .iter()
        .filter(|made| made.is_finding())
        .collect();
    findings.sort_by_key(|made| std::cmp::Reverse(made.severity));
    html! {
        section {
            @if report.subjects.len() > 1 { h2 { (subject.configuration) } }
            p.question { "Can this private key leave the HSM?" }
            p class=(format!("answer {class}")) { (answer.sentence) }
            @if !answer.rests_on.is_empty() {
                ul { @for reason in &answer.rests_on { li { (words(reason)) } } }
            }
            p.question { "Who can use it?" }
            p { (words(&answer.who_can_use_it)) }
            dl {
                dt { "Configuration" } dd { (words(&subject.configuration)) " (" (subject.environment) ")" }
                @if let Some(key) = &subject.key { dt { "Key" } dd { code { (words(key)) } } }
                @if let Some(token) = &subject.token { dt { "Token" } dd { (words(token)) } }
                @if let Some(issuer) = &subject.issuer { dt { "Certificate issued by" } dd { (words(issuer)) } }
            }
            @if let Some(stopped) = &subject.stopped {
                p.stopped { b { "The audit got no further: " } (words(&stopped.error)) ". Next: " (words(&stopped.hint)) "." }
            }
            h2 { @match findings.len() {
                0 => "No findings",
                1 => "One finding",
                count => (format!("{count} findings")),
            } }
            @if !findings.is_empty() {
                table.findings {
                    thead { tr { th { "how grave" } th { "what should hold, and does not" } th { "what was seen" } th { "what to do" } } }
                    tbody { @for made in findings { (finding(made)) } }
                }
            }
        }
    }
}

fn finding(made: &Judgement) -> Markup {
    let (holds, mend) = rule(&made.rule).map_or(("", ""), |rule| (rule.holds, rule.mend));
    let severity = made.severity.map_or("", super::rule::Severity::name);
    html! {
        tr {
            td { b class=(severity) { (severity) } }
            td { (holds) br; code { (made.rule) } }
            td { (evidence(made)) }
            td { (words(mend)) }
        }
    }
}

fn evidence(made: &Judgement) -> Markup {
    html! {
        @match made.evidence.as_slice() {
            [one] => (words(one)),
            several => ul { @for one in several { li { (words(one)) } } },
        }
    }
}

fn environments(report: &Report) -> Markup {
    html! {
        section {
            h2 { "What the environments must not share" }
            (table(&report.environments))
        }
    }
}

/// How to read it: each verdict by its sign and its word.
fn legend() -> Markup {
    let all = [
        (
            Verdict::TriedAndRefused,
            "what must not be possible was tried, and the token refused it to this user, in this session",
        ),
        (
            Verdict::Seen,
            "this program saw it: a signature that verifies, the mode of a file, a date",
        ),
        (
            Verdict::Claimed,
            "the module says so; modules are known to be wrong in both directions",
        ),
        (
            Verdict::Asserted,
            "the operator says so, and nothing here can show it",
        ),
        (Verdict::Violated, "it does not hold"),
        (
            Verdict::NotAnswerable,
            "nothing follows from what could be asked here; the reason stands beside it",
        ),
    ];
    let words = [
        (
            "HSM, token",
            "a device that keeps private keys and signs with them; a token is the part of it that holds this key",
        ),
        (
            "module",
            "the library of the device's maker, through which everything here was asked",
        ),
        ("sensitive", "the key is never told in plain text"),
        (
            "extractable",
            "the key may be taken out wrapped: encrypted under another key",
        ),
        (
            "a key like it",
            "a disposable key with the same restrictions, made for the trial: the key itself is not put at risk",
        ),
    ];
    html! {
        section.legend {
            h2 { "Words" }
            dl { @for (word, meaning) in words { dt { (word) } dd { (meaning) } } }
            h2 { "How to read the rules on the pages behind" }
            dl { @for (verdict, meaning) in all {
                dt { (sign(verdict)) " " (verdict.name()) }
                dd { (meaning) }
            } }
        }
    }
}

/// For a page that is printed without colour.
fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TriedAndRefused => "\u{25a0}",
        Verdict::Seen => "\u{25cf}",
        Verdict::Claimed => "\u{25cb}",
        Verdict::Asserted => "\u{25c7}",
        Verdict::Violated => "\u{2718}",
        Verdict::NotAnswerable => "?",
    }
}

fn details(report: &Report, subject: &Subject) -> Markup {
    html! {
        section.details {
            @if report.subjects.len() > 1 { h1 { (subject.configuration) } }
            @for category in CATEGORIES.iter().filter(|category| category.name != "environments") {
                (of_category(category, subject))
            }
            @if !subject.uses.is_empty() {
                h2 { "What the key was used for, day by day" }
                (chart::of(&subject.uses))
            }
            @for facts in &subject.facts {
                h2 { (facts.about) }
                table.facts { @for (name, value) in &facts.rows {
                    tr { th { (name) } td { (words(value)) } }
                } }
            }
        }
    }
}

fn of_category(category: &Category, subject: &Subject) -> Markup {
    let made: Vec<_> = category
        .rules
        .iter()
        .filter_map(|rule| subject.judged(rule.id).cloned())
        .collect();
    html! {
        h2 { (category.title) }
        (table(&made))
    }
}

fn table(judgements: &[Judgement]) -> Markup {
    html! {
        table.rules {
            thead { tr { th { "rule" } th { "verdict" } th { "what it rests on" } } }
            tbody { @for made in judgements {
                @let holds = rule(&made.rule).map_or("", |rule| rule.holds);
                tr class=(if made.is_finding() { "finding" } else { "" }) {
                    td { (holds) br; code { (made.rule) } }
                    td {
                        span.sign { (sign(made.verdict)) } " " (made.verdict.name())
                        @if let Some(severity) = made.severity { br; b class=(severity.name()) { (severity.name()) } }
                    }
                    td { (evidence(made)) }
                }
            } }
        }
    }
}

/// Each rule's reason, and who says so.
fn sources() -> Markup {
    let row = |rule: &Rule| {
        html! {
            tr {
                td { code { (rule.id) } }
                td { (words(rule.looks_at)) }
                td { (words(rule.reason)) }
                td { (rule.source) }
            }
        }
    };
    html! {
        section.details {
            h1 { "The rules" }
            table.sources {
                thead { tr { th { "rule" } th { "looked at" } th { "why" } th { "says who" } } }
                tbody { @for category in CATEGORIES { @for rule in category.rules { (row(rule)) } } }
            }
        }
    }
}
