//! Truncates lists in messages: the first items, and how many more there are. The system's CA bundle, for example, has
//! about 140 names.

/// How many items are shown.
const MAX_SHOWN: usize = 3;

/// The first three items, and how many more there are.
pub fn first_few<T: AsRef<str>>(all: &[T], separator: &str) -> String {
    truncate(all, separator, MAX_SHOWN)
}

/// The first twelve items, and how many more there are: for short items such as names of schemes and mechanisms.
pub fn first_words<T: AsRef<str>>(all: &[T], separator: &str) -> String {
    truncate(all, separator, 4 * MAX_SHOWN)
}

fn truncate<T: AsRef<str>>(all: &[T], separator: &str, max: usize) -> String {
    let shown: Vec<&str> = all.iter().take(max).map(AsRef::as_ref).collect();
    let shown = shown.join(separator);
    match all.len().saturating_sub(max) {
        0 => shown,
        more => format!("{shown}{separator}and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_are_shown_and_the_rest_counted() {
        assert_eq!(first_few::<&str>(&[], ", "), "");
        assert_eq!(first_few(&["a", "b", "c"], ", "), "a, b, c");
        assert_eq!(
            first_few(&["a", "b", "c", "d"], "; "),
            "a; b; c; and 1 more"
        );
        let many = vec!["name".to_owned(); 140];
        assert!(first_few(&many, "; ").ends_with("; and 137 more"));
        assert!(first_words(&many, ", ").ends_with(", and 128 more"));
    }
}
