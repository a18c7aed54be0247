//! Which connection gives way to a new one.

use super::*;

fn slots(limit: usize) -> Arc<ConnectionSlots> {
    ConnectionSlots::new("here".to_owned(), limit)
}

fn is_displaced(slot: &ConnectionSlot) -> bool {
    slot.slots
        .table()
        .callers
        .get(&slot.caller)
        .is_none_or(|all| {
            !all.waiting.contains_key(&slot.number) && !all.serving.contains_key(&slot.number)
        })
}

#[test]
fn the_caller_with_the_most_gives_way() {
    let slots = slots(4);
    let many: Vec<_> = (0..4)
        .map(|_| slots.take(Caller::User(1)).unwrap())
        .collect();
    let two = [(); 2].map(|()| slots.take(Caller::User(2)).unwrap());
    let displaced: Vec<_> = many.iter().map(is_displaced).collect();
    assert_eq!(displaced, [true, true, false, false]);
    // Nobody has more now: each takes the place of its own.
    let third = slots.take(Caller::User(2)).unwrap();
    assert!(is_displaced(&two[0]) && !is_displaced(&two[1]) && !is_displaced(&third));
    assert!(!is_displaced(&many[2]) && slots.count() == 4);
    // A user who has none gets one, however many users there are.
    let others: Vec<_> = (3..20)
        .map(|uid| slots.take(Caller::User(uid)).unwrap())
        .collect();
    assert!(!is_displaced(others.last().unwrap()));
    assert_eq!(slots.count(), 4);
    drop((many, two, third, others));
    assert_eq!(slots.count(), 0);
    assert!(slots.table().callers.is_empty());
}

#[test]
fn requests_give_way_to_another_caller_only() {
    let slots = slots(3);
    let mut own: Vec<_> = (0..3)
        .map(|_| slots.take(Caller::User(1)).unwrap())
        .collect();
    for slot in &mut own {
        slot.set_serving();
    }
    assert!(slots.take(Caller::User(1)).is_none());
    own[1].set_waiting();
    let next = slots.take(Caller::User(1)).unwrap();
    assert!(is_displaced(&own[1]) && !is_displaced(&own[0]));
    drop(next);
    let _another = slots.take(Caller::User(2)).unwrap();
    let one_more = slots.take(Caller::User(2)).unwrap();
    assert!(is_displaced(&own[0]) || is_displaced(&one_more));
    // What was displaced changes nothing any more.
    own[1].set_serving();
    own[1].set_waiting();
    assert_eq!(slots.count(), 3);
}

#[test]
fn who_has_not_shown_the_token_displaces_its_like_only() {
    let slots = slots(2);
    let admitted = [(); 2].map(|()| {
        let mut slot = slots.take(Caller::Unknown).unwrap();
        assert!(slot.admit() && !slot.is_unknown());
        slot
    });
    let unknown: Vec<_> = (0..MIN_UNKNOWN + 1)
        .map(|_| slots.take(Caller::Unknown).unwrap())
        .collect();
    assert!(is_displaced(&unknown[0]) && !is_displaced(&unknown[1]));
    assert!(!admitted.iter().any(is_displaced));
    assert_eq!(slots.count(), 2 + MIN_UNKNOWN);
}
