//! SIGKILL at random moments of each step: the next call goes on, and in the end there is one new key.
//!
//! `ROTATION_KILLS` says how many (`make kill-rotation` runs a hundred), `ROTATION_SEED` repeats a run.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use serde_json::Value;

use crate::common::bank::{BINARY, Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::softhsm::PIN;
use crate::common::token_objects;
use crate::common::trust_framework::write_file;
use crate::scene::{bank, bytes_of, certified, id_of_new, labels, rotate, start, state};

/// How often each step of a rotation is tried to be killed.
const KILLS_OF_STEP: u32 = 4;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Runs a step and kills it after this time; false: it had ended before.
fn killed(bank: &Bank, arguments: &[&str], after: Duration) -> bool {
    let mut child = Command::new(BINARY.unwrap())
        .arg("--config")
        .arg(bank.config_path())
        .arg("rotate")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + after;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        thread::park_timeout(Duration::from_micros(500));
    }
    // It may have ended now.
    let _ = child.kill();
    child.wait().unwrap();
    true
}

/// The file of the token itself, which SoftHSM writes anew at each login.
fn token_file(bank: &Bank) -> (PathBuf, Vec<u8>) {
    let mut files = bank.token.files().into_iter();
    files
        .find(|(path, _)| path.ends_with("token.object"))
        .expect("a token")
}

/// SoftHSM cuts the file off before it writes it: whoever is killed just then leaves no token, which is a matter of this stand-in.
fn mend_token_file((path, before): &(PathBuf, Vec<u8>)) {
    let now = fs::read(path).unwrap();
    if now.len() < before.len() {
        fs::write(path, before).unwrap();
    }
}

/// Kills a step some times, and lets it come to its end.
fn interrupted(bank: &Bank, arguments: &[&str], random: &mut Random) -> u32 {
    let mut kills = 0;
    for _ in 0..KILLS_OF_STEP {
        // Each step takes some 50 to 600 ms.
        let after = Duration::from_micros(random.below(400_000));
        let before = token_file(bank);
        kills += u32::from(killed(bank, arguments, after));
        mend_token_file(&before);
        // What an operator does after a C_Login that was interrupted: the guard takes the PIN for refused.
        write_file(&bank.token.pin_file(), PIN, 0o600);
        // The status can be read after each.
        let status = state(bank, &[]);
        if arguments[0] == "retire" && status["under_way"] == false {
            return kills;
        }
    }
    rotate(bank, arguments).expect(0);
    kills
}

/// One rotation, each step of which is killed some times.
fn rotation(random: &mut Random) -> u32 {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let mut kills = interrupted(&bank, &["start"], random);
    let request = start(&bank, &[]);
    let new = state(&bank, &[])["new"]["label"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(labels(&bank, &[]), ["c3", &new], "one new key");
    let chain = certified(&bank, &request);
    kills += interrupted(&bank, &["install", chain.to_str().unwrap()], random);
    kills += interrupted(&bank, &["test"], random);
    kills += interrupted(&bank, &["switch"], random);
    bank.run(&["verify"]).expect(0);
    kills += interrupted(
        &bank,
        &["retire", "--after", "0s", "--destroy", "c3"],
        random,
    );
    assert_eq!(labels(&bank, &[]), [new], "the new key, and no other");
    bank.run(&["verify"]).expect(0);
    bank.run(&["ledger", "verify"]).expect(0);
    // Of both halves there is one.
    bank.run_test(a_rotation_that_is_killed_goes_on, &[]);
    kills
}

/// SoftHSM makes an object first, and gives it label and CKA_ID then: a kill in between leaves one with neither, which is no key.
fn has_a_name(session: &Session, handle: ObjectHandle) -> bool {
    let types = [AttributeType::Label, AttributeType::Id];
    let named = session.get_attributes(handle, &types).unwrap();
    named.iter().any(|attribute| match attribute {
        Attribute::Label(bytes) | Attribute::Id(bytes) => !bytes.is_empty(),
        _ => false,
    })
}

#[test]
fn a_rotation_that_is_killed_goes_on() {
    if config_of_child().is_some() {
        let session = token_objects::session();
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let found = session.find_objects(&[Attribute::Class(class)]).unwrap();
            let named = found
                .into_iter()
                .filter(|handle| has_a_name(&session, *handle));
            assert_eq!(named.count(), 1, "{class:?}");
        }
        return;
    }
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = number("ROTATION_SEED").unwrap_or(since_epoch.unwrap().as_nanos() as u64 | 1);
    println!("ROTATION_SEED={seed}");
    let goal = number("ROTATION_KILLS").unwrap_or(10);
    let mut random = Random(seed);
    let mut kills = 0;
    // A step that had ended before counts for nothing.
    while kills < goal {
        kills += u64::from(rotation(&mut random));
        println!("{kills} kills");
    }
}

/// What a call that was ended within C_GenerateKeyPair leaves: nothing, one half, the whole pair, or somebody else's key of that name.
#[test]
fn what_an_interrupted_generation_left_is_found() {
    if let Ok(what) = env::var("LEFT") {
        return leave(&what);
    }
    for left in ["nothing", "private", "public", "both", "foreign"] {
        let mut bank = bank("p-256");
        let chaos = Chaos::between(&mut bank, "");
        // The first call makes a session key, which shows what the token says of such a key.
        chaos.plan("crash C_GenerateKeyPair 2");
        chaos.run(&bank, &["rotate", "start"]).expect(3);
        chaos.plan("");
        let run = chaos.run(&bank, &["rotate", "status", "--json"]).expect(0);
        assert_eq!(run.json()["stage"], "begun");
        let arguments = [
            ("LEFT", left),
            ("LABEL", &label(&run.json())),
            ("ID", &id_of_new(&bank)),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        bank.run_test(what_an_interrupted_generation_left_is_found, &arguments);
        let before = chaos
            .run(&bank, &["key", "list", "--json"])
            .expect(0)
            .json();
        let code = if left == "foreign" { 2 } else { 0 };
        let run = chaos.run(&bank, &["rotate", "start"]).expect(code);
        if left == "foreign" {
            assert!(run.stderr.contains("already"), "{run:?}");
        }
        let after = chaos
            .run(&bank, &["key", "list", "--json"])
            .expect(0)
            .json();
        assert_eq!(after["keys"].as_array().unwrap().len(), 2, "{left}");
        let is_kept = ["both", "foreign"].contains(&left);
        assert_eq!(before == after, is_kept, "{left}: a whole pair is used");
    }
}

fn label(status: &Value) -> String {
    status["new"]["label"].as_str().unwrap().to_owned()
}

/// In the process that has the token: makes a pair, and takes a part of it away.
fn leave(what: &str) {
    let (label, id) = (env::var("LABEL").unwrap(), env::var("ID").unwrap());
    let mut id = bytes_of(&id);
    if what == "nothing" {
        return;
    }
    if what == "foreign" {
        id[0] ^= 1;
    }
    let session = token_objects::session();
    token_objects::generate_p256_with_id(&session, &label, &id);
    let class = match what {
        "private" => ObjectClass::PUBLIC_KEY,
        "public" => ObjectClass::PRIVATE_KEY,
        _ => return,
    };
    let named = [
        Attribute::Class(class),
        Attribute::Label(label.into_bytes()),
    ];
    for object in session.find_objects(&named).unwrap() {
        session.destroy_object(object).unwrap();
    }
}
