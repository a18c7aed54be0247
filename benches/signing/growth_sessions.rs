//! Sessions: what more of them bring with a token that takes 10 ms for a signature.

use std::path::Path;

use crate::common::chaos::Chaos;
use crate::growth::{Line, Series};
use crate::results::Rate;
use crate::role::{Load, Way};
use crate::setup::Setup;

const SESSIONS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// More than the most sessions, so that none waits for a connection.
const CONNECTIONS: usize = 128;
const PLAN: &str = "delay C_Sign 10ms";
/// Signatures of one session in a second.
const LIMIT: f64 = 100.0;

/// Leaves the module in between.
pub fn measured(setup: &mut Setup) -> Series {
    let chaos = Chaos::between(&mut setup.bank, PLAN);
    let environment = chaos.environment();
    // A line in a file for each call would be the load that is measured.
    let environment: Vec<(&str, &Path)> = environment
        .iter()
        .filter(|(name, _)| *name != "CHAOS_TOKEN_LOG")
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    let load = Load {
        connections: CONNECTIONS,
        seconds: setup.seconds,
    };
    let (mut found, mut limit) = (Line::new("hsm-mtls"), Line::new("the token's limit"));
    let mut undelayed = Line::new("without the delay");
    for sessions in SESSIONS {
        eprintln!("{sessions} sessions");
        setup
            .bank
            .configure(|settings| settings.token_lines = format!("sessions = {sessions}\n"));
        for (plan, line) in [(PLAN, &mut found), ("", &mut undelayed)] {
            chaos.plan(plan);
            let rate = Rate::of(setup.connect(Way::Product, load, &environment));
            line.points.push((sessions as f64, rate.per_second));
        }
        let most = LIMIT * sessions as f64;
        limit.points.push((sessions as f64, most));
    }
    Series {
        title: "Sessions of a token that takes 10 ms for a signature (128 connections, a new one for each request)",
        name: "sessions",
        x: "sessions",
        y: "handshakes per second",
        lines: vec![found, limit, undelayed],
    }
}
