//! Each change of a chain is reported at the record that was changed; a torn line is skipped only if its repair record
//! follows.

use serde::Serialize;

use super::super::hash_chain::{self, RepairRecord};
use super::*;

#[derive(Serialize)]
struct Kind {
    kind: &'static str,
}

fn line(head: &mut ChainHead, kind: &'static str) -> Vec<u8> {
    let (mut line, after) = hash_chain::encode_line(head, &Kind { kind }).expect("a line");
    *head = after;
    line.push(b'\n');
    line
}

fn lines(count: usize) -> Vec<Vec<u8>> {
    let mut head = ChainHead::EMPTY;
    (0..count).map(|_| line(&mut head, "login")).collect()
}

fn parsed(lines: &[Vec<u8>]) -> Result<(u64, Tail), ChainBreak> {
    let mut head = ChainHead::EMPTY;
    let mut records = 0;
    let end = parse_chain(&mut head, &lines.concat(), |header, _, _, _| {
        records += 1;
        assert_eq!(header.seq, records);
    })?;
    Ok((head.sequence, end))
}

#[test]
fn each_change_is_reported_at_its_record() {
    let good = lines(9);
    assert_eq!(parsed(&good), Ok((9, Tail::Complete)));
    let broken = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = good.clone();
        change(&mut lines);
        parsed(&lines).map_err(|broken| broken.sequence())
    };
    // The change is in record 4, whose hash record 5 contains.
    assert_eq!(
        broken(&|lines| lines[3] = String::from_utf8_lossy(&lines[3])
            .replace("login", "Login")
            .into()),
        Err(5)
    );
    assert_eq!(broken(&|lines| drop(lines.remove(3))), Err(4));
    assert_eq!(broken(&|lines| lines.swap(3, 4)), Err(4));
    assert_eq!(broken(&|lines| lines.insert(3, lines[0].clone())), Err(4));
    assert_eq!(broken(&|lines| lines[3] = b"{}\n".to_vec()), Err(4));
    let mut other = ChainHead::EMPTY;
    let others: Vec<_> = (0..9).map(|_| line(&mut other, "attempt")).collect();
    assert_eq!(broken(&|lines| lines[3] = others[3].clone()), Err(4));
}

#[test]
fn a_torn_line_is_skipped_if_its_repair_record_follows() -> Result<(), serde_json::Error> {
    let whole = lines(3).concat();
    let mut head = ChainHead::EMPTY;
    assert_eq!(
        parse_chain(&mut head, &whole, |_, _, _, _| {}),
        Ok(Tail::Complete)
    );
    let (next, _) = hash_chain::encode_line(&head, &Kind { kind: "login" })?;
    for torn in [
        &b"{\"seq\":4,\"ti"[..],
        b"{\"seq\":4,\n{\"se",
        b"{\"seq\":4,\"ti\n",
        // After a power cut, blocks that did not reach the disk read as zeros.
        b"\0\0\0",
        b"{\"seq\":4,\"ti\0\0\0\n",
        &next[..next.len() - 1],
        &next[..40],
    ] {
        let mut bytes = [&whole[..], torn].concat();
        let mut at = ChainHead::EMPTY;
        assert_eq!(
            parse_chain(&mut at, &bytes, |_, _, _, _| {}),
            Ok(Tail::Torn(torn.len()))
        );
        bytes.push(b'\n');
        bytes.extend(hash_chain::encode_line(&head, &RepairRecord::new(torn))?.0);
        bytes.push(b'\n');
        let mut at = ChainHead::EMPTY;
        assert_eq!(
            parse_chain(&mut at, &bytes, |_, _, _, _| {}),
            Ok(Tail::Complete),
            "{torn:?}"
        );
        assert_eq!(at.sequence, 4);
        // The repair record covers the torn bytes: a change of one of them breaks the chain.
        bytes[whole.len()] ^= 1;
        let mut at = ChainHead::EMPTY;
        assert!(parse_chain(&mut at, &bytes, |_, _, _, _| {}).is_err());
    }
    Ok(())
}

#[test]
fn bytes_that_no_crash_leaves_are_damage() -> Result<(), serde_json::Error> {
    let good = lines(6);
    let mut head = ChainHead::EMPTY;
    assert_eq!(
        parse_chain(&mut head, &good[..3].concat(), |_, _, _, _| {}),
        Ok(Tail::Complete)
    );
    // One byte of each of the last three records.
    let mut damaged = good.clone();
    damaged[3..].iter_mut().for_each(|line| line[1] = b'?');
    let repaired = |torn: &[u8]| -> Result<Vec<u8>, serde_json::Error> {
        let (repair, _) = hash_chain::encode_line(&head, &RepairRecord::new(torn))?;
        Ok([&good[..3].concat(), torn, b"\n", &repair, b"\n"].concat())
    };
    let due = String::from_utf8_lossy(&good[3]).into_owned();
    let due = due.trim_end();
    for (description, torn) in [
        ("three damaged records", damaged[3..].concat()),
        ("one, in its number", damaged[3].clone()),
        (
            "one, in its text",
            due.replace("\"login\"", "\"log\"in").into_bytes(),
        ),
        ("a byte before a record", format!("x{due}").into_bytes()),
        (
            "half a record before a record",
            format!("{},\"a\":[{due}", due.trim_end_matches('}')).into_bytes(),
        ),
        (
            "the same, behind a newline",
            format!("\n{due}").into_bytes(),
        ),
        ("the record of another number", b"{\"seq\":5,\"ti".to_vec()),
        ("of another chain", format!("{}g", &due[..100]).into_bytes()),
        ("zeros before something", b"\0\0{\"seq\":4".to_vec()),
        ("a record, and zeros", format!("{due}\0\0").into_bytes()),
        ("anything", b"hello".to_vec()),
    ] {
        for bytes in [[&good[..3].concat(), &torn[..]].concat(), repaired(&torn)?] {
            let mut at = ChainHead::EMPTY;
            let end = parse_chain(&mut at, &bytes, |_, _, _, _| {});
            assert!(end.is_err(), "{description}: {end:?}");
            assert_eq!(at.sequence, 3, "{description}");
        }
    }
    Ok(())
}
