//! The run in words and tables, for people and for docs/soak.md.

use std::fmt::Write as _;

use crate::memory::Trend;
use crate::outcome::{ClientOutcome, Outcome};

pub fn markdown(calm: &Outcome, faulty: &Outcome) -> String {
    let mut text = String::new();
    let seconds = faulty.client.seconds;
    let faults: u64 = faulty.client.faults.iter().map(|fault| fault.times).sum();
    let times = if faults == 1 { "fault" } else { "faults" };
    let _ = write!(
        text,
        "{seconds} seconds, {faults} {times}.\n\n| | token behaves | token misbehaves |\n|---|---|---|\n"
    );
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        let _ = writeln!(text, "| {name} | {} | {} |", of(calm), of(faulty));
    };
    row("requests and signatures asked for", &|run| {
        run.client.requests.to_string()
    });
    row("good", &|run| run.client.good.to_string());
    row("failed, by class", &|run| by_class(&run.client));
    row("failed without a class", &|run| {
        run.client.unexplained.len().to_string()
    });
    row("wrong signatures, seen by hub or caller", &|run| {
        (run.client.wrong_signatures + run.hub.wrong_signatures).to_string()
    });
    row("handshakes that the hub saw given up", &|run| {
        run.hub.given_up.to_string()
    });
    row(
        "slowest signature or its error (deadline 2,000 ms)",
        &|run| format!("{} ms", run.client.slowest_signature_ms),
    );
    row("slowest request or its error", &|run| {
        format!("{} ms", run.client.slowest_request_ms)
    });
    row("not good 2 s after a fault's end", &|run| {
        run.client.not_recovered.len().to_string()
    });
    row("resident memory at begin, half, end", &|run| {
        at_three(&run.client.resident)
    });
    row("heap in use at begin, half, end", &|run| {
        at_three(&run.client.heap)
    });
    row("slope of the heap in use over the second half", &|run| {
        slope(&run.client)
    });
    row("most threads", &|run| run.client.most_threads.to_string());
    row("open files at the end", &|run| {
        run.client.files_at_the_end.to_string()
    });
    text += "\n| fault | times | asked meanwhile and 2 s after | of these failed |\n|---|---|---|---|\n";
    for fault in &faulty.client.faults {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            fault.fault, fault.times, fault.requests, fault.failed
        );
    }
    text
}

fn at_three(memory: &[u64]) -> String {
    let at = |index: usize| memory.get(index).copied().unwrap_or(0);
    let (half, end) = (memory.len() / 2, memory.len().saturating_sub(1));
    format!("{}, {}, {} KiB", at(0), at(half), at(end))
}

fn by_class(client: &ClientOutcome) -> String {
    let classes = client.failed.iter();
    let classes: Vec<_> = classes
        .map(|(class, count)| format!("{class} {count}"))
        .collect();
    match classes.as_slice() {
        [] => "0".to_owned(),
        some => some.join(", "),
    }
}

fn slope(client: &ClientOutcome) -> String {
    let Trend { slope, error } = Trend::of(client);
    // A short run has too few observations for it.
    match error.is_finite() {
        true => format!("{slope:+.0} ± {error:.0} KiB/min"),
        false => "too short".to_owned(),
    }
}
