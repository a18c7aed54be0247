//! The order in which addresses are tried, and how long one is preferred.

use super::*;

fn addresses(of: &[&str]) -> Vec<SocketAddr> {
    let parsed = of
        .iter()
        .map(|ip| SocketAddr::new(ip.parse().unwrap(), 443));
    parsed.collect()
}

fn ordered(of: &[&str], first: Option<&str>) -> Vec<String> {
    let first = first.map(|ip| SocketAddr::new(ip.parse().unwrap(), 443));
    let ordered = sort_addresses(&addresses(of), first);
    ordered
        .iter()
        .map(|address| address.ip().to_string())
        .collect()
}

#[test]
fn families_alternate_and_keep_the_resolvers_order() {
    for (given, first, expected) in [
        (&[][..], None, &[][..]),
        (&["192.0.2.1"], None, &["192.0.2.1"]),
        (
            &[
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8::3",
                "192.0.2.1",
                "192.0.2.2",
            ],
            None,
            &[
                "2001:db8::1",
                "192.0.2.1",
                "2001:db8::2",
                "192.0.2.2",
                "2001:db8::3",
            ],
        ),
        (
            &["192.0.2.9", "192.0.2.1", "2001:db8::1"],
            None,
            &["192.0.2.9", "2001:db8::1", "192.0.2.1"],
        ),
        // Duplicates, as in a hosts file.
        (
            &["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"],
            None,
            &["192.0.2.1", "192.0.2.2"],
        ),
        (
            &["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"],
            Some("192.0.2.2"),
            &["192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2"],
        ),
        (
            &["2001:db8::1", "192.0.2.1"],
            Some("2001:db8::1"),
            &["2001:db8::1", "192.0.2.1"],
        ),
        // The preferred address is no longer one of the name's.
        (&["192.0.2.1"], Some("192.0.2.7"), &["192.0.2.1"]),
    ] {
        assert_eq!(ordered(given, first), expected, "{given:?} {first:?}");
    }
}

#[test]
fn a_preferred_address_expires_and_can_be_forgotten() {
    let origin: Origin = "https://hub.example".parse().unwrap();
    let [one, two] = addresses(&["192.0.2.1", "192.0.2.2"]).try_into().unwrap();
    let preferences = PreferredAddresses::default();
    let shared = preferences.clone();
    let now = Instant::now();
    assert_eq!(preferences.preferred(&origin, now), None);
    preferences.update(&origin, Some(one), now);
    assert_eq!(shared.preferred(&origin, now), Some(one));
    // Its own use does not extend its lifetime.
    let later = now + PREFERENCE_LIFETIME / 2;
    preferences.update(&origin, Some(one), later);
    assert_eq!(preferences.preferred(&origin, later), Some(one));
    assert_eq!(
        preferences.preferred(&origin, now + PREFERENCE_LIFETIME),
        None
    );
    preferences.update(&origin, Some(two), later);
    assert_eq!(
        preferences.preferred(&origin, now + PREFERENCE_LIFETIME),
        Some(two)
    );
    let other: Origin = "https://other.example".parse().unwrap();
    assert_eq!(preferences.preferred(&other, later), None);
    preferences.update(&origin, None, later);
    assert_eq!(shared.preferred(&origin, later), None);
}
