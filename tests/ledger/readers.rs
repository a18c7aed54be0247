//! Readers beside writers, and foreign records in a chain: a reader takes neither a rotation for damage nor a record
//! of another format for one of ours.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::ledger_file::{folder_in_memory, long_files, record, short_files};
use crate::common::poll;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::ledger::record_reader::{LedgerLine, RecordReader};
use hsm_mtls::internal::ledger::verify::{VerifyError, verify};
use hsm_mtls::internal::ledger::{Entry, FileLedger, KeyGeneration, Ledger, LedgerError, Process};

#[test]
fn a_ledger_holds_while_it_is_rotated() {
    let folder = folder_in_memory();
    let config = short_files(folder.path().join("ledger.jsonl"));
    // So much that it is rotated before all of that is read.
    let long = FileLedger::open(&long_files(config.file.clone())).unwrap();
    (2..3000).for_each(|number| assert_eq!(record(&long).unwrap(), number));
    let ledger = FileLedger::open(&config).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                record(&ledger).unwrap();
                thread::park_timeout(Duration::from_micros(200));
            }
        });
        let held = (0..10).try_for_each(|_| verify(&config.file, None).map(drop));
        done.store(true, Ordering::Relaxed);
        held.unwrap();
    });
}

#[test]
fn what_is_written_and_rotated_while_it_is_shown_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = short_files(folder.path().join("ledger.jsonl"));
    let ledger = FileLedger::open(&config).unwrap();
    let long = FileLedger::open(&long_files(config.file.clone())).unwrap();
    let mut shown = Vec::new();
    let mut reader = RecordReader::open(&config.file).unwrap();
    for more in [20, 40] {
        let read = reader.read(|seen| {
            let LedgerLine::Record(seen, _) = seen else {
                panic!("{seen:?}");
            };
            shown.push(seen.seq);
            // Whoever shows it takes their time: meanwhile the file gets a record more and is
            // closed, and so is the next.
            if shown.len() < more {
                for ledger in [&long, &ledger, &ledger, &long] {
                    record(ledger).unwrap();
                }
            }
        });
        read.unwrap();
    }
    let last = verify(&config.file, None).unwrap().last;
    assert_eq!(shown, (1..=last).collect::<Vec<_>>());
}

/// Carries a chain on, as somebody does who knows its form.
fn forge(path: &Path, rest: &str) {
    let text = fs::read_to_string(path).unwrap();
    let last = text.lines().next_back().unwrap();
    let hash = Fingerprint::of(last.as_bytes());
    let seq = text.lines().count() + 1;
    let line = format!("{{\"seq\":{seq},\"prev\":\"{hash}\",{rest}}}\n");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

const TIME: &str = "\"time\":\"2026-11-24T14:45:11.222127Z\"";

#[test]
fn what_this_program_does_not_write_is_found() {
    let attempt = format!("{TIME},\"kind\":\"attempt\"");
    let said = |records: &[String]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        drop(FileLedger::open(&long_files(path.clone())).unwrap());
        records.iter().for_each(|record| forge(&path, record));
        match verify(&path, None) {
            Ok(history) => format!("unfinished {:?}", history.unfinished),
            Err(flaw) => format!("{:?}: {flaw}", flaw.sequence()),
        }
    };
    let of = |kind: &str| format!("{TIME},\"kind\":\"{kind}\",\"of\":2");
    assert_eq!(
        said(&[attempt.clone(), of("attempt")]),
        "unfinished [2, 3]",
        "no attempt ends another"
    );
    assert_eq!(said(&[attempt.clone(), of("outcome")]), "unfinished []");
    for (records, wanted) in [
        (
            vec![attempt.clone(), format!("{TIME},\"kind\":\"outcome\"")],
            "Some(3): record 3 is an outcome, and does not say of what",
        ),
        (
            vec![
                attempt,
                format!("{TIME},\"kind\":\"begin\",\"ledger\":\"x\""),
            ],
            "Some(3): record 3 begins a file, and is not the first of one",
        ),
        (
            vec!["\"kind\":\"attempt\"".to_owned()],
            "ledger.jsonl: record 2 is not there: a line that is no record stands in its place",
        ),
    ] {
        let said = said(&records);
        assert!(said.ends_with(wanted), "{said}");
    }
}

#[test]
fn a_file_of_another_ledger_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = short_files(folder.path().join("ledger.jsonl"));
    let ledger = FileLedger::open(&config).unwrap();
    record(&ledger).unwrap();
    drop(ledger);
    verify(&config.file, None).unwrap();
    let text = fs::read_to_string(&config.file).unwrap();
    let begin = text.lines().next().unwrap();
    let at = begin.find("\"ledger\":\"").unwrap() + 10;
    let renamed = format!("{}00000000{}\n", &begin[..at], &begin[at + 8..]);
    fs::write(&config.file, renamed).unwrap();
    let flaw = verify(&config.file, None).unwrap_err();
    assert!(
        matches!(flaw, VerifyError::Stray { sequence: 2, .. }),
        "{flaw}"
    );
}

fn label(ledger: &FileLedger, label: &str) -> Result<u64, LedgerError> {
    ledger.record(&Entry::KeyGeneration(KeyGeneration {
        token: "pkcs11:token=lfi",
        label,
        algorithm: "ec-p256",
        mechanism: "CKM_EC_KEY_PAIR_GEN",
        process: Process::current(),
    }))
}

#[test]
fn a_record_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = long_files(folder.path().join("ledger.jsonl"));
    let ledger = FileLedger::open(&config).unwrap();
    let error = label(&ledger, &"x".repeat(70_000)).expect_err("it is too long");
    assert!(matches!(error, LedgerError::TooLong { .. }), "{error}");
    label(&ledger, &"x".repeat(10_000)).unwrap();
    drop(ledger);
    // Where somebody wrote one in spite of that, the chain is carried on.
    forge(
        &config.file,
        &format!("{TIME},\"kind\":\"{}\"", "x".repeat(70_000)),
    );
    assert_eq!(record(&FileLedger::open(&config).unwrap()).unwrap(), 4);
    verify(&config.file, None).unwrap();
}

#[test]
fn a_long_file_is_followed_piece_by_piece() {
    let folder = tempfile::tempdir().unwrap();
    let config = long_files(folder.path().join("ledger.jsonl"));
    let [idle, busy] = [0, 1].map(|_| FileLedger::open(&config).unwrap());
    for length in (0..500).map(|number| number * 31) {
        label(&busy, &"x".repeat(length)).unwrap();
    }
    assert!(fs::metadata(&config.file).unwrap().len() > 3 << 20);
    assert_eq!(record(&idle).unwrap(), 502);
    assert_eq!(verify(&config.file, None).unwrap().last, 502);
    let mut read = 0;
    let mut reader = RecordReader::open(&config.file).unwrap();
    reader.read(|_| read += 1).unwrap();
    assert_eq!(read, 502);
}

#[test]
fn a_young_file_after_a_power_cut_is_begun_anew() {
    for left in ["\0\0\0\0", "{\"seq\":1,\"ti", "{\"seq\":1,\"ti\0\0"] {
        let folder = tempfile::tempdir().unwrap();
        let config = long_files(folder.path().join("ledger.jsonl"));
        fs::write(&config.file, left).unwrap();
        let ledger = FileLedger::open(&config).unwrap();
        assert_eq!(record(&ledger).unwrap(), 2, "{left:?}");
        let text = fs::read_to_string(&config.file).unwrap();
        assert!(text.starts_with("{\"seq\":1,\"time\":"), "{text}");
        assert!(text.contains("\"kind\":\"begin\",\"schema\":0"), "{text}");
        assert_eq!(verify(&config.file, None).unwrap().repairs, 0);
    }
}

const LEDGER: &str = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n";

fn bank() -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.sections = LEDGER.to_owned());
    let ledger = FileLedger::open(&long_files(bank.path("ledger.jsonl"))).unwrap();
    record(&ledger).unwrap();
    bank
}

#[test]
fn show_says_what_it_does_not_understand_and_obeys_nobody() {
    let bank = bank();
    let path = bank.path("ledger.jsonl");
    forge(
        &path,
        &format!("{TIME},\"kind\":\"attempt\",\"peer\":\"a\",\"peer\":\"b\""),
    );
    forge(
        &path,
        &format!("{TIME},\"kind\":\"attempt\",\"purpose\":\"csr\",\"of\":2"),
    );
    let evil = "x\u{9b}31m\u{202e}\u{7f}";
    forge(
        &path,
        &format!("\t{TIME},\"kind\":\"{evil}\",\"purpose\":\"{evil}\""),
    );
    let shown = bank.run(&["ledger", "show"]).expect(0).stdout;
    let rows: Vec<_> = shown.lines().collect();
    assert!(rows[0].trim() == "3  of another form", "{shown}");
    assert!(
        rows[1].contains("initialize") && rows[1].contains("no outcome"),
        "{shown}"
    );
    assert!(rows[2].contains("csr"), "{shown}");
    let json = bank.run(&["--json", "ledger", "show"]).expect(0);
    assert!(
        json.stderr.contains("record 3: of another form"),
        "{}",
        json.stderr
    );
    let last: serde_json::Value =
        serde_json::from_str(json.stdout.lines().next_back().unwrap()).unwrap();
    assert_eq!(
        last["kind"], evil,
        "it is all there, in another way to write it"
    );
    let counts = bank.run(&["ledger", "show", "--counts"]).expect(0).stdout;
    let as_json = bank
        .run(&["--json", "ledger", "show", "--counts"])
        .expect(0);
    for printed in [shown, json.stdout, counts, as_json.stdout] {
        assert!(printed.contains('x'), "{printed:?}");
        let obeyed = ['\u{1b}', '\u{9b}', '\u{202e}', '\u{7f}', '\t'];
        assert!(!printed.contains(obeyed), "{printed:?}");
    }
}

#[test]
fn following_shows_what_has_no_outcome_and_ends_with_its_reader() {
    let bank = bank();
    let mut following = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(bank.config_path())
        .args(["ledger", "show", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(following.stdout.take().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(out.lines().next().unwrap().unwrap()));
    let first = told.recv_timeout(Duration::from_secs(10));
    let wanted = |line: &String| line.contains("initialize") && line.contains("no outcome");
    let shown = first.as_ref().is_ok_and(wanted);
    // No record comes any more.
    let ended = poll::found(|| following.try_wait().unwrap());
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(shown, "{first:?}");
    assert!(ended.expect("it ends").success());
}
