//! Names of users and groups for messages, from /etc/passwd and /etc/group. An account of a directory service (LDAP, SSSD)
//! is shown by its number.

use std::fs;

use rustix::process::{getegid, geteuid, getgroups};

/// The user's name; its uid if /etc/passwd does not list it.
pub(crate) fn user(uid: u32) -> String {
    find_name("/etc/passwd", uid).unwrap_or_else(|| uid.to_string())
}

/// The group's name; its gid if /etc/group does not list it.
pub(crate) fn group(gid: u32) -> String {
    find_name("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

/// The effective user's name.
pub(crate) fn effective_user() -> String {
    user(geteuid().as_raw())
}

/// Whether the group is the effective group or a supplementary group of this process.
pub(crate) fn is_process_group(gid: u32) -> bool {
    getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// Whether /etc/group lists the effective user as a member of the group. A process that was started before the user was
/// added does not have the group yet.
pub(crate) fn is_member_of(gid: u32) -> bool {
    let name = effective_user();
    read_fields("/etc/group").iter().any(|line| {
        let members = line.get(3).map(String::as_str).unwrap_or_default();
        id_of(line) == Some(gid) && members.split(',').any(|member| member.trim() == name)
    })
}

/// The name of the entry with this id, in a file whose first fields are name, password and id (passwd(5), group(5)).
fn find_name(file: &str, id: u32) -> Option<String> {
    let lines = read_fields(file);
    let line = lines.iter().find(|line| id_of(line) == Some(id))?;
    line.first().filter(|name| !name.is_empty()).cloned()
}

fn id_of(line: &[String]) -> Option<u32> {
    line.get(2)?.parse().ok()
}

fn read_fields(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| line.split(':').map(str::to_owned).collect();
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_else_numbers_shown() {
        assert_eq!((user(0), group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(user(3_999_999_999), "3999999999");
        assert!(is_process_group(getegid().as_raw()) && !is_process_group(3_999_999_999));
        assert!(!is_member_of(3_999_999_999));
    }
}
