//! The report as a single HTML file without scripts and external resources, which can be printed on A4: the conclusion
//! first, then the findings, then each rule with its evidence.

mod chart;
mod style;
mod word_breaks;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::conclusion::CanLeave;
use super::finding::{Judgement, Verdict};
use super::report::{Report, Subject};
use super::rule::{Rule, rule};
use super::rules::{CATEGORIES, Category};
use word_breaks::words;

/// The report as HTML.
pub fn page(report: &Report) -> String {
    let subjects = report.subjects.iter().map(Subject::without_repeated_error);
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
                @for subject in &subjects { (summary(report, subject)) }
                @if report.has_several_configurations() { (environments(report)) }
                (legend())
                @for subject in &subjects { (details(report, subject)) }
                (sources(report))
            }
        }
    };
    page.into_string()
}

/// The first page: conclusion and findings.
fn summary(report: &Report, subject: &Subject) -> Markup {
    let answer = &subject.answer;
    let class = match answer.can_leave {
        CanLeave::No => "no",
        CanLeave::Yes => "yes",
        CanLeave::MayHaveLeft | CanLeave::NoHsm => "may",
        CanLeave::NotAnswerable => "open",
    };
    let mut findings: Vec<_> = subject
        .judgements
        .iter()
        .filter(|judgement| judgement.is_finding())
        .collect();
    findings.sort_by_key(|judgement| std::cmp::Reverse(judgement.severity));
    html! {
        section {
            @if report.subjects.len() > 1 { h2 { (subject.heading()) } }
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
                    tbody { @for judgement in findings { (finding(judgement)) } }
                }
            }
        }
    }
}

fn finding(judgement: &Judgement) -> Markup {
    let (holds, mend) = rule(&judgement.rule).map_or(("", ""), |rule| (rule.holds, rule.mend));
    let severity = judgement.severity.map_or("", super::rule::Severity::name);
    html! {
        tr {
            td { b class=(severity) { (severity) } }
            td { (holds) br; code { (judgement.rule) } }
            td { (evidence(judgement)) }
            td { (words(mend)) }
        }
    }
}

fn evidence(judgement: &Judgement) -> Markup {
    html! {
        @match judgement.evidence.as_slice() {
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

/// The glossary, and the verdicts with their symbols.
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
                dt { (symbol(verdict)) " " (verdict.name()) }
                dd { (meaning) }
            } }
        }
    }
}

/// The symbol of a verdict, for a page that is printed without colour.
fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TriedAndRefused => "\u{25a0}",
        Verdict::Seen => "\u{25cf}",
        Verdict::Claimed => "\u{25cb}",
        Verdict::Asserted => "\u{25c7}",
        Verdict::Violated => "\u{2718}",
        Verdict::NotAnswerable => "?",
    }
}

/// All rules of a configuration, category by category, with chart and facts.
fn details(report: &Report, subject: &Subject) -> Markup {
    html! {
        section.details {
            @if report.subjects.len() > 1 { h1 { (subject.heading()) } }
            @for category in CATEGORIES.iter().filter(|category| category.name != "environments") {
                (category_table(category, subject))
            }
            @if !subject.uses.is_empty() {
                h2 { "What the key was used for, day by day" }
                (chart::uses_per_day(&subject.uses))
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

fn category_table(category: &Category, subject: &Subject) -> Markup {
    let judgements: Vec<_> = category
        .rules
        .iter()
        .filter_map(|rule| subject.judgement_of(rule.id).cloned())
        .collect();
    html! {
        h2 { (category.title) }
        (table(&judgements))
    }
}

fn table(judgements: &[Judgement]) -> Markup {
    html! {
        table.rules {
            thead { tr { th { "rule" } th { "verdict" } th { "what it rests on" } } }
            tbody { @for judgement in judgements {
                @let holds = rule(&judgement.rule).map_or("", |rule| rule.holds);
                tr class=(if judgement.is_finding() { "finding" } else { "" }) {
                    td { (holds) br; code { (judgement.rule) } }
                    td {
                        span.sign { (symbol(judgement.verdict)) } " " (judgement.verdict.name())
                        @if let Some(severity) = judgement.severity { br; b class=(severity.name()) { (severity.name()) } }
                    }
                    td { (evidence(judgement)) }
                }
            } }
        }
    }
}

/// The reason and the source of each rule.
fn sources(report: &Report) -> Markup {
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
                tbody { @for rule in &report.rules { (row(rule)) } }
            }
        }
    }
}
