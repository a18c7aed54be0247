//! A token that takes its time, like one across a network: what comes through beside its own limit and beside what the
//! machine does without a delay, in turn within one run.

use std::path::{Path, PathBuf};

use crate::common::chaos::Chaos;
use crate::own_proxy::{Lines, OwnProxy};
use crate::pairs::Ratio;
use crate::proxies::PROXY;
use crate::results::{Lateness, Percentiles, Rate, SlowRow, SlowTokens};
use crate::role::{LatenessFound, Load, Measured, Role, Signatures, Way, play};
use crate::scenarios::{PRODUCT, RAW, ROUNDS};
use crate::servers::ONCE;
use crate::setup::Setup;

const SESSIONS: usize = 16;
const CONNECTIONS: usize = 32;
/// What the token does, its plan, and the time of a signature in milliseconds. The first is what the machine can do.
const TOKENS: [(&str, &str, Option<f64>); 3] = [
    ("C_Sign is not delayed", "", None),
    ("C_Sign takes 25 ms", "delay C_Sign 25ms", Some(25.0)),
    ("C_Sign takes 10 ms", "delay C_Sign 10ms", Some(10.0)),
];
/// Handshakes beside which a task's timer is watched, and the token's plan then.
const BESIDE: usize = 64;
const VERY_SLOW: &str = "delay C_Sign 200ms";

/// Measures all. Leaves the module in between.
pub fn measured(setup: &mut Setup) -> SlowTokens {
    let chaos = Chaos::between(&mut setup.bank, "");
    let environment = chaos.environment();
    let environment: Vec<(&str, &Path)> = environment
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    // A line in a file for each call would be the load that is measured.
    let unwritten: Vec<_> = environment
        .iter()
        .copied()
        .filter(|(name, _)| *name != "CHAOS_TOKEN_LOG")
        .collect();
    setup.bank.configure(|settings| {
        settings.token_lines = format!("sessions = {SESSIONS}\n");
        // For the proxy's signer, whose environment is the configuration's.
        let text = |path: &Path| path.display().to_string();
        settings.env = unwritten
            .iter()
            .map(|(name, path)| ((*name).to_owned(), text(path)))
            .collect();
    });
    let mut rows = in_turn(&chaos, PROXY, {
        let own = OwnProxy::start(setup, Lines::default());
        let load = load(setup);
        move || {
            let role = Role::ThroughProxy {
                port: own.ports[0],
                path: ONCE.to_owned(),
                keep_alive: true,
                processes: own.processes(),
                load,
            };
            play(&role, &[])
        }
    });
    setup.without_proxy();
    for (client, way) in [(PRODUCT, Way::Product), (RAW, Way::Raw)] {
        rows.extend(in_turn(&chaos, client, || {
            setup.connect(way, load(setup), &unwritten)
        }));
    }
    rows.push(each_call_slow(setup, &chaos, &environment));
    eprintln!("a task's timer beside {BESIDE} handshakes");
    chaos.plan(VERY_SLOW);
    let lateness = lateness(setup, &unwritten);
    SlowTokens { rows, lateness }
}

fn load(setup: &Setup) -> Load {
    Load {
        connections: CONNECTIONS,
        seconds: setup.seconds / ROUNDS as f64,
    }
}

/// A row for each of the tokens, measured in turn.
fn in_turn(chaos: &Chaos, client: &'static str, measure: impl Fn() -> Measured) -> Vec<SlowRow> {
    let mut found = TOKENS.map(|_| (Measured::default(), Vec::new()));
    for round in 0..ROUNDS {
        eprintln!("{client}: slow tokens, round {}", round + 1);
        for ((_, plan, _), (all, rates)) in TOKENS.iter().zip(&mut found) {
            chaos.plan(plan);
            let measured = measure();
            rates.push(measured.micros.len() as f64 / measured.seconds);
            all.add(measured);
        }
    }
    let undelayed = found[0].1.clone();
    let rows = TOKENS.into_iter().zip(found);
    rows.map(|((token, _, millis), (all, rates))| SlowRow {
        token,
        client,
        limit_per_second: millis.map(|millis| SESSIONS as f64 * 1000.0 / millis),
        rate: Some(Rate::of(all)),
        of_undelayed: millis.and_then(|_| {
            let pairs = rates.into_iter().zip(undelayed.iter().copied());
            Ratio::of(&pairs.collect::<Vec<_>>())
        }),
        signature: None,
        calls_per_signature: None,
    })
    .collect()
}

fn each_call_slow(setup: &Setup, chaos: &Chaos, environment: &[(&str, &Path)]) -> SlowRow {
    eprintln!("{}: each call takes 3 ms", setup.key);
    chaos.plan("delay all 3ms");
    chaos.forget_calls();
    let role = Role::SignSlowly {
        config: setup.bank.config_path(),
        seconds: setup.seconds,
    };
    let found: Signatures = with_module(setup, &role, environment);
    let calls = chaos.calls("C_SignInit") + chaos.calls("C_Sign");
    // Identity::open signs once, to prove the pair.
    let signatures = found.engine.len() + 1;
    SlowRow {
        token: "each call takes 3 ms",
        client: PRODUCT,
        limit_per_second: None,
        rate: None,
        of_undelayed: None,
        signature: Some(Percentiles::of(found.engine)),
        calls_per_signature: Some(calls as f64 / signatures as f64),
    }
}

fn lateness(setup: &Setup, environment: &[(&str, &Path)]) -> Lateness {
    let role = Role::Lateness {
        config: setup.bank.config_path(),
        connections: BESIDE,
        seconds: setup.seconds,
    };
    let found: LatenessFound = with_module(setup, &role, environment);
    Lateness {
        connections: BESIDE,
        handshakes: found.handshakes,
        failures: found.failures,
        idle: Percentiles::of(found.idle),
        loaded: Percentiles::of(found.loaded),
    }
}

fn with_module<T: serde::de::DeserializeOwned>(
    setup: &Setup,
    role: &Role,
    environment: &[(&str, &Path)],
) -> T {
    let conf: PathBuf = setup.bank.token.conf();
    let environment = [&[("SOFTHSM2_CONF", conf.as_path())], environment].concat();
    play(role, &environment)
}
