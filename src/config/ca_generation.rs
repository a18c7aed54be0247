//! The generation in the names of the scheme's CAs: `Example Root CA - G1`. When a CA gets a new key,
//! the number counts up and the rest stays.

/// Splits the common name of a CA into the name of all its generations, and the number. `None` if it names no generation.
pub fn split_generation(common_name: &str) -> Option<(&str, u32)> {
    let (name, number) = common_name.trim_end().rsplit_once(" - G")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number)?;
    Some((name, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_what_stands_behind_the_last_dash() {
        for (name, expected) in [
            ("Root CA - G1", Some(("Root CA", 1))),
            ("A - G2 CA - G12", Some(("A - G2 CA", 12))),
            ("Root CA - G", None),
            ("Root CA - G+1", None),
            ("Root CA - G99999999999", None),
            ("Root CA G1", None),
        ] {
            assert_eq!(split_generation(name), expected, "{name}");
        }
    }
}
