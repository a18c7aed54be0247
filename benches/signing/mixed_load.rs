//! Requests over connections that are kept, while the proxy makes many new ones: whether those handshakes delay what has nothing
//! to do with them. Both at an even rate, whatever the proxy answers: a slow one gets no fewer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clients::{Asker, asking};
use crate::own_proxy::{Lines, OwnProxy};
use crate::pairs::Ratio;
use crate::peers::{self, Access};
use crate::proxies::PROXY;
use crate::results::{MixedLoad, MixedRow, Rate};
use crate::role::{MixedFound, Role, play};
use crate::scenarios::NGINX;
use crate::servers::ONCE;
use crate::setup::Setup;

/// New connections a second.
pub const NEW: u32 = 500;
/// Requests a second over kept connections, and how many of those there are.
const KEPT: u32 = 1000;
const CONNECTIONS: usize = 16;
/// Connections are made, before anything counts.
const WARM_UP: Duration = Duration::from_millis(400);
const PAIRS: usize = 3;

/// Measures both proxies in turn, beside new connections and without.
pub fn measured(setup: &mut Setup) -> MixedLoad {
    eprintln!(
        "{}: kept connections beside {NEW} new ones a second",
        setup.key
    );
    let own = OwnProxy::start(setup, Lines::default());
    let hubs = [&setup.hubs[0], &setup.hubs[1]];
    let nginx = peers::nginx_kept_alive(&setup.bank, Access::Engine, hubs);
    let sides = [
        (PROXY, Ok(own.ports[0])),
        (NGINX, nginx.as_ref().map(|nginx| nginx.ports[0])),
    ];
    let mut p99 = [Vec::new(), Vec::new()];
    let mut rows = Vec::new();
    for new_per_second in [0, NEW] {
        let mut found = [MixedFound::default(), MixedFound::default()];
        for _ in 0..PAIRS {
            for ((side, found), p99) in sides.iter().zip(&mut found).zip(&mut p99) {
                let Ok(port) = side.1 else {
                    continue;
                };
                let role = Role::MixedLoad {
                    port,
                    new_per_second,
                    seconds: setup.seconds,
                };
                let round: MixedFound = play(&role, &[]);
                if new_per_second > 0 {
                    let kept = crate::results::Percentiles::of(round.kept.micros.clone());
                    let millis = f64::from(kept.p99) / 1000.0;
                    p99.push((kept.samples > 0).then_some(millis));
                }
                found.kept.add(round.kept);
                found.new.add(round.new);
            }
        }
        for (side, found) in sides.iter().zip(found) {
            rows.push(MixedRow {
                key: setup.key,
                client: side.0,
                new_per_second,
                missing: side.1.err().cloned(),
                kept: side.1.is_ok().then(|| Rate::of(found.kept)),
                new: (side.1.is_ok() && new_per_second > 0).then(|| Rate::of(found.new)),
            });
        }
    }
    let [ours, theirs] = p99;
    // A round without an answer has no p99.
    let pairs = ours.into_iter().zip(theirs);
    let pairs = pairs.filter_map(|(ours, theirs)| Some((ours?, theirs?)));
    let pairs: Vec<_> = pairs.collect();
    own.stop();
    setup.without_proxy();
    MixedLoad {
        rows,
        p99_ms: Ratio::of(&pairs),
    }
}

/// The load: what a child does.
pub async fn ask(port: u16, new_per_second: u32, seconds: f64) -> MixedFound {
    let begins = Instant::now() + WARM_UP;
    let ends = begins + Duration::from_secs_f64(seconds);
    let kept = tokio::spawn(paced(port, "/", KEPT, begins, ends));
    let new = match new_per_second {
        0 => MixedFound::default().new,
        rate => paced(port, ONCE, rate, begins, ends).await,
    };
    MixedFound {
        kept: kept.await.expect("no panic"),
        new,
    }
}

/// Requests at an even rate, each by an asker that is free, or by another one where none is. A request's time begins when it was
/// due.
async fn paced(
    port: u16,
    path: &'static str,
    per_second: u32,
    begins: Instant,
    ends: Instant,
) -> crate::role::Measured {
    let make = asking(port, path, true);
    let free: Arc<Mutex<Vec<Asker>>> = Arc::default();
    free.lock().await.extend((0..CONNECTIONS).map(|_| make()));
    let pause = Duration::from_secs(1) / per_second;
    let mut due = Instant::now();
    let mut requests = JoinSet::new();
    while due < ends {
        sleep_until(due).await;
        let free = Arc::clone(&free);
        let asker = free.lock().await.pop().unwrap_or_else(&make);
        requests.spawn(async move {
            let mut asker = asker;
            let result = asker().await;
            let took = due.elapsed();
            free.lock().await.push(asker);
            (due, result, took)
        });
        due += pause;
    }
    let mut all = crate::role::Measured {
        seconds: (ends - begins).as_secs_f64(),
        ..crate::role::Measured::default()
    };
    for (due, result, took) in requests.join_all().await {
        if due < begins {
            continue;
        }
        match result {
            Ok(()) => all.micros.push(took.as_micros() as u32),
            Err(why) => {
                all.failures += 1;
                all.first_failure.get_or_insert(why);
            }
        }
    }
    all
}
