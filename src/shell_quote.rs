//! Quotes file names in the commands that messages tell a person to type.

/// Quotes a file name for a shell.
pub(crate) fn shell_quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    match name.chars().all(plain) && !name.is_empty() && !name.starts_with('-') {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_name_as_it_is() {
        assert_eq!(shell_quoted("/etc/a_b-1.pem"), "/etc/a_b-1.pem");
        assert_eq!(shell_quoted("/My Bank/$(x).pem"), "'/My Bank/$(x).pem'");
        assert_eq!(shell_quoted("/it's"), r"'/it'\''s'");
        assert_eq!(shell_quoted("-rf"), "'-rf'");
    }
}
