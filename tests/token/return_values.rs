//! Every return value of the standard, from every function that a signature needs: what becomes of
//! it is a table that is reviewed. Nothing panics, nothing hangs, nothing is tried more than once
//! again, and a PIN error is never followed by another C_Login.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::poll::until;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

const TABLE: &str = "FAULT_TABLE";

/// What a signature calls, beside C_Login.
const FUNCTIONS: [&str; 4] = ["C_OpenSession", "C_FindObjectsInit", "C_SignInit", "C_Sign"];

/// Every CKR_ of PKCS#11 3.0 but CKR_OK, as the fault-injecting module knows them; and what is in no
/// standard.
fn codes() -> Vec<String> {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("softhsm/chaos-token/src/names.rs");
    let text = fs::read_to_string(source).unwrap();
    let (_, table) = text.split_once("RETURN_VALUES: CK_RV =").unwrap();
    let (table, _) = table.split_once('}').unwrap();
    let words = table
        .split([',', ' ', '\n'])
        .filter(|word| word.starts_with("CKR_"));
    let mut codes: Vec<_> = words.map(str::to_owned).collect();
    codes.extend(["0x80000105", "0x00000999"].map(str::to_owned));
    codes
}

fn sign(signer: &Arc<dyn Sign>) -> Result<Duration, EngineError> {
    let started = Instant::now();
    let result = challenge(signer.as_ref(), Purpose::SelfTest);
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "past its deadline"
    );
    result
}

fn outcome(result: Result<Duration, EngineError>) -> String {
    match result {
        Ok(_) => "signed".to_owned(),
        Err(error) => format!("exit {}", error.exit_code() as u8),
    }
}

/// What comes of one fault, and of a fault that stays.
fn play(chaos: &Chaos, signer: &Arc<dyn Sign>, function: &str, code: &str) -> [String; 2] {
    ["1", "all"].map(|calls| {
        // An error that is nobody's fault: the session is let go, and opened anew next time.
        chaos.plan("fail C_SignInit all CKR_KEY_FUNCTION_NOT_PERMITTED");
        sign(signer).unwrap_err();
        chaos.plan(&format!("fail {function} {calls} {code}"));
        chaos.forget_calls();
        let result = sign(signer);
        let tried = chaos.calls("C_SignInit");
        assert!(tried <= 2, "{function} {code}: {tried} attempts");
        assert!(chaos.calls("C_Login") <= 2, "{function} {code}");
        chaos.plan("");
        until("the token is found again", || sign(signer).is_ok());
        outcome(result)
    })
}

#[test]
fn each_fault_of_a_signature_has_its_outcome() {
    let Some(config) = config_of_child() else {
        let mut bank = Bank::new();
        bank.certify("p-256");
        bank.configure(|settings| settings.token_lines = "sessions = 1".to_owned());
        let table = bank.path("table");
        let chaos = Chaos::between(&mut bank, "");
        let path = table.to_str().unwrap().to_owned();
        chaos.run_test(
            &bank,
            each_fault_of_a_signature_has_its_outcome,
            &[(TABLE, path)],
        );
        insta::assert_snapshot!(fs::read_to_string(table).unwrap());
        return;
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let mut table = format!("{:40}", "one fault / a fault that stays");
    for function in FUNCTIONS {
        write!(table, "{function:20}").unwrap();
    }
    for code in codes() {
        write!(table, "\n{code:40}").unwrap();
        for function in FUNCTIONS {
            let [once, staying] = play(&chaos, identity.signer(), function, &code);
            write!(table, "{:20}", format!("{once} / {staying}")).unwrap();
        }
    }
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    fs::write(std::env::var_os(TABLE).unwrap(), lines.join("\n")).unwrap();
}

/// Each in a process of its own: what is refused once is not sent again by the same process.
#[test]
fn each_fault_of_a_login_has_its_outcome() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let pin = bank.path("pin");
    let right = fs::read_to_string(bank.token.pin_file()).unwrap();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", pin.display()));
    let chaos = Chaos::between(&mut bank, "");
    let mut table = format!("{:40}first start         second start", "");
    for code in codes() {
        // Another file each time: nothing was ever tried with it.
        let _ = fs::remove_file(&pin);
        let _ = fs::remove_dir_all(bank.path("state"));
        crate::common::trust_framework::write_file(&pin, &right, 0o600);
        chaos.plan(&format!("fail C_Login all {code}"));
        let starts = [(); 2].map(|()| {
            chaos.forget_calls();
            let run = chaos.run(&bank, &["key", "list"]);
            let sent = chaos.calls("C_Login");
            assert!(sent <= 1, "{code}: {sent} logins");
            let said = if sent == 1 { "sent" } else { "not sent" };
            format!("{said}, exit {}", run.code)
        });
        write!(table, "\n{code:40}{:20}{}", starts[0], starts[1]).unwrap();
    }
    insta::assert_snapshot!(table);
}
