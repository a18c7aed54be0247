//! Starts: from the start of a proxy to its first good answer, and from the end of a signer to the next signature. Polled
//! tightly; pairs in turn.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use crate::common::procfs::{command_line, launched};
use crate::common::proxy::Proxy;
use crate::own_proxy::{self, Lines, OwnProxy};
use crate::pairs::{Ratio, median};
use crate::peers::{self, Access};
use crate::results::Starts;
use crate::role::{Role, play};
use crate::servers::{ONCE, end, first_answer};
use crate::setup::Setup;

const PAIRS: usize = 10;
/// Requests before the end of the signer, whose time is what a handshake takes by itself.
const BEFORE: usize = 20;

/// Measures both.
pub fn measured(setup: &mut Setup) -> Starts {
    let mut found = first_answers(setup);
    signer_again(setup, &mut found);
    setup.without_proxy();
    found
}

fn first_answers(setup: &mut Setup) -> Starts {
    eprintln!("{}: from the start to the first answer", setup.key);
    let mut found = Starts {
        key: setup.key,
        first_answer_ms: None,
        missing: None,
        signer_again_ms: Vec::new(),
        module_by_itself_ms: Vec::new(),
        handshake_ms: 0.0,
    };
    let hubs = [&setup.hubs[0], &setup.hubs[1]];
    let nginx = peers::nginx_kept_alive(&setup.bank, Access::Engine, hubs);
    let mut nginx = match nginx {
        Ok(nginx) => nginx,
        Err(why) => {
            found.missing = Some(why);
            return found;
        }
    };
    let (_, ports) = own_proxy::configure(setup, Lines::default());
    let mut pairs = Vec::new();
    // The first pair reads the programs from the disk.
    for pair in 0..=PAIRS {
        let began = Instant::now();
        let mut child = Proxy::command(&setup.bank, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("hsm-mtls runs");
        let ours = first_answer(ports[0], ONCE, began);
        end(&mut child);
        let ours = ours.expect("hsm-mtls proxy answers");
        match nginx.server.start_again(ONCE) {
            Ok(theirs) if pair > 0 => pairs.push((millis(ours), millis(theirs))),
            Ok(_) => {}
            Err(why) => {
                found.missing = Some(why);
                return found;
            }
        }
    }
    found.first_answer_ms = Ratio::of(&pairs);
    found
}

/// A proxy of its own for each: a signer that ended often is started again later. It keeps no connection ready, so the next
/// request makes a handshake, and that a signature.
fn signer_again(setup: &mut Setup, found: &mut Starts) {
    eprintln!("{}: a signer that is started again", setup.key);
    let mut handshakes = Vec::new();
    for _ in 0..PAIRS {
        let lines = Lines {
            proxy: "warm_connections = 0",
            ..Lines::default()
        };
        let own = OwnProxy::start(setup, lines);
        let once = || first_answer(own.ports[0], ONCE, Instant::now()).expect("an answer");
        handshakes.extend((0..BEFORE).map(|_| millis(once())));
        let signatures = own.signatures();
        let signer = signer_of(&own.proxy);
        let ended = Instant::now();
        let killed = Command::new("kill")
            .args(["-KILL", &signer.to_string()])
            .status();
        assert!(killed.expect("kill").success(), "the signer's end");
        let took = first_answer(own.ports[0], ONCE, ended).expect("an answer");
        assert!(own.signatures() > signatures, "no signature was needed");
        assert_ne!(signer_of(&own.proxy), signer, "the signer is another one");
        found.signer_again_ms.push(millis(took));
        own.stop();

        let role = Role::LoadAndLogIn {
            module: setup.bank.module().to_owned(),
            pin_file: setup.bank.token.pin_file(),
        };
        let micros: u32 = play(&role, &[("SOFTHSM2_CONF", &setup.bank.token.conf())]);
        found.module_by_itself_ms.push(f64::from(micros) / 1000.0);
    }
    found.handshake_ms = median(handshakes).expect("handshakes");
}

fn signer_of(proxy: &Proxy) -> u32 {
    let mut all = launched(proxy.pid()).into_iter();
    let signer = all.find(|pid| command_line(*pid).ends_with(b"signer\0"));
    signer.expect("a signer")
}

/// What a process that has just begun needs until it is logged in: microseconds. The module's variables are in place.
#[expect(
    clippy::disallowed_methods,
    reason = "the module by itself is what is measured; the PIN is that of this run's own token"
)]
pub fn load_and_log_in(module: &Path, pin_file: &Path) -> u32 {
    let pin = std::fs::read_to_string(pin_file).expect("the PIN file");
    let began = Instant::now();
    let pkcs11 = Pkcs11::new(module).expect("the module");
    let locking = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(locking).expect("C_Initialize");
    let slots = pkcs11.get_slots_with_token().expect("slots");
    let session = pkcs11.open_ro_session(slots[0]).expect("C_OpenSession");
    let pin = AuthPin::new(pin.trim().into());
    session.login(UserType::User, Some(&pin)).expect("C_Login");
    began.elapsed().as_micros() as u32
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
