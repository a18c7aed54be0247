//! Every change of a chain is found where it is; a torn line is passed only with its repair.

use super::*;

#[derive(Serialize)]
struct Kind {
    kind: &'static str,
}

fn line(head: &mut Head, kind: &'static str) -> Vec<u8> {
    let (mut line, after) = super::line(head, &Kind { kind }).expect("a line");
    *head = after;
    line.push(b'\n');
    line
}

fn lines(count: usize) -> Vec<Vec<u8>> {
    let mut head = Head::BEGIN;
    (0..count).map(|_| line(&mut head, "login")).collect()
}

fn followed(lines: &[Vec<u8>]) -> Result<(u64, End), Broken> {
    let mut head = Head::BEGIN;
    let mut shown = 0;
    let end = follow(&mut head, &lines.concat(), |link, _, _| {
        shown += 1;
        assert_eq!(link.seq, shown);
    })?;
    Ok((head.sequence, end))
}

#[test]
fn each_change_is_found_where_it_is() {
    let good = lines(9);
    assert_eq!(followed(&good), Ok((9, End::Whole)));
    let broken = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = good.clone();
        change(&mut lines);
        followed(&lines).map_err(|broken| broken.sequence())
    };
    // The change is in record 4; the one after it no longer carries its hash.
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
    let mut other = Head::BEGIN;
    let others: Vec<_> = (0..9).map(|_| line(&mut other, "attempt")).collect();
    assert_eq!(broken(&|lines| lines[3] = others[3].clone()), Err(4));
}

#[test]
fn a_torn_line_is_passed_where_its_repair_follows() -> Result<(), serde_json::Error> {
    let whole = lines(3).concat();
    let mut head = Head::BEGIN;
    assert_eq!(follow(&mut head, &whole, |_, _, _| {}), Ok(End::Whole));
    for torn in [
        &b"{\"seq\":4,\"pr"[..],
        b"{\"seq\":4,\n{\"se",
        b"{\"seq\":4,\"pr\n",
    ] {
        let mut bytes = [&whole[..], torn].concat();
        let mut at = Head::BEGIN;
        assert_eq!(
            follow(&mut at, &bytes, |_, _, _| {}),
            Ok(End::Torn(torn.len()))
        );
        bytes.push(b'\n');
        bytes.extend(super::line(&head, &Repair::of(torn))?.0);
        bytes.push(b'\n');
        let mut at = Head::BEGIN;
        assert_eq!(
            follow(&mut at, &bytes, |_, _, _| {}),
            Ok(End::Whole),
            "{torn:?}"
        );
        assert_eq!(at.sequence, 4);
        // What was torn is part of the record too.
        bytes[whole.len() + 2] ^= 1;
        let mut at = Head::BEGIN;
        assert!(follow(&mut at, &bytes, |_, _, _| {}).is_err());
    }
    Ok(())
}
