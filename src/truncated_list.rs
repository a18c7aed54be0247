//! Names within a sentence: the first of them, and how many more there are. A bundle of a system has a
//! hundred and forty, and a line of eleven kilobytes says less than three names.

/// How many are named.
const NAMED: usize = 3;

/// The first three, and how many more.
pub fn first_few<T: AsRef<str>>(all: &[T], between: &str) -> String {
    first(all, between, NAMED)
}

/// The same of words that are short, such as schemes and mechanisms.
pub fn first_words<T: AsRef<str>>(all: &[T], between: &str) -> String {
    first(all, between, 4 * NAMED)
}

fn first<T: AsRef<str>>(all: &[T], between: &str, most: usize) -> String {
    let named: Vec<&str> = all.iter().take(most).map(AsRef::as_ref).collect();
    let named = named.join(between);
    match all.len().saturating_sub(most) {
        0 => named,
        more => format!("{named}{between}and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_and_how_many_more() {
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
