//! Names of users and groups, for people who read why a file is out of reach. Only the system's own
//! files are asked: an account that a directory service knows has its number.

use std::fs;

use rustix::process::{getegid, geteuid, getgroups};

/// The user's name, else its number.
pub(crate) fn user(uid: u32) -> String {
    named("/etc/passwd", uid).unwrap_or_else(|| uid.to_string())
}

/// The group's name, else its number.
pub(crate) fn group(gid: u32) -> String {
    named("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

/// Whom this process acts as.
pub(crate) fn me() -> String {
    user(geteuid().as_raw())
}

/// Whether this process acts as a member of the group.
pub(crate) fn acts_in(gid: u32) -> bool {
    getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// Whether /etc/group counts this user to the group: a session that began before does not yet.
pub(crate) fn belongs_to(gid: u32) -> bool {
    let name = me();
    fields("/etc/group").iter().any(|line| {
        let members = line.get(3).map(String::as_str).unwrap_or_default();
        number(line) == Some(gid) && members.split(',').any(|member| member.trim() == name)
    })
}

/// Both files have name, password and number first.
fn named(file: &str, wanted: u32) -> Option<String> {
    let lines = fields(file);
    let line = lines.iter().find(|line| number(line) == Some(wanted))?;
    line.first().filter(|name| !name.is_empty()).cloned()
}

fn number(line: &[String]) -> Option<u32> {
    line.get(2)?.parse().ok()
}

fn fields(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| line.split(':').map(str::to_owned).collect();
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_where_there_is_one() {
        assert_eq!((user(0), group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(user(3_999_999_999), "3999999999");
        assert!(acts_in(getegid().as_raw()) && !acts_in(3_999_999_999));
        assert!(!belongs_to(3_999_999_999));
    }
}
