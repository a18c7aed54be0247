//! Users and groups of /etc/passwd and /etc/group: their names for messages, and the accounts that processes are given. An
//! account of a directory service (LDAP, SSSD) is shown by its number.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::process::{getegid, geteuid, getgroups};

use crate::poison::IgnorePoison as _;

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
    let groups = read_fields("/etc/group");
    let mut lines = groups.iter().filter(|line| id_of(line) == Some(gid));
    lines.any(|line| lists_member(line, &name))
}

/// Whether a line of group(5) lists the user.
fn lists_member(line: &[String], name: &str) -> bool {
    let members = line.get(3).map(String::as_str).unwrap_or_default();
    members.split(',').any(|member| member.trim() == name)
}

/// A user of /etc/passwd, with the groups that a login would give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
    /// All groups: the primary one, and those of /etc/group that list the user. A vendor's client may ask for one.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
}

/// The account of this name in /etc/passwd.
pub(crate) fn account(name: &str) -> Option<Account> {
    account_in(
        name,
        &read_fields("/etc/passwd"),
        &read_fields("/etc/group"),
    )
}

fn account_in(name: &str, users: &[Vec<String>], groups: &[Vec<String>]) -> Option<Account> {
    let line = users
        .iter()
        .find(|line| line.first().is_some_and(|own| own == name))?;
    let (uid, gid) = (id_of(line)?, primary_group(line)?);
    let mut all = vec![gid];
    let listed = groups.iter().filter(|line| lists_member(line, name));
    all.extend(listed.filter_map(|line| id_of(line)));
    all.sort_unstable();
    all.dedup();
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        groups: all,
        home: line.get(5).map(PathBuf::from).unwrap_or_default(),
    })
}

/// The results of the last [`private_group`] that could read both files: a process under Landlock cannot.
static PRIVATE_GROUPS: Mutex<BTreeMap<u32, u32>> = Mutex::new(BTreeMap::new());

/// The gid of a user's private group: the primary group of that user and of no other, without further members. Debian and
/// others create one with each user, and a umask of 002 then lets it write to all files. `None` for root, for whom no login
/// sets that umask, and for an account that is not in /etc/passwd.
pub(crate) fn private_group(uid: u32) -> Option<u32> {
    let files = [
        fs::read_to_string("/etc/passwd"),
        fs::read_to_string("/etc/group"),
    ];
    let mut last = PRIVATE_GROUPS.lock().ignore_poison();
    if let [Ok(users), Ok(groups)] = files {
        match private_group_of(uid, &fields(&users), &fields(&groups)) {
            Some(gid) => last.insert(uid, gid),
            None => last.remove(&uid),
        };
    }
    last.get(&uid).copied()
}

fn private_group_of(uid: u32, users: &[Vec<String>], groups: &[Vec<String>]) -> Option<u32> {
    let user = users.iter().find(|line| id_of(line) == Some(uid))?;
    let gid = primary_group(user).filter(|_| uid != 0)?;
    let others = users.iter().filter(|line| id_of(line) != Some(uid));
    let is_shared = others.clone().any(|line| primary_group(line) == Some(gid));
    let mut entries = groups.iter().filter(|line| id_of(line) == Some(gid));
    let group = entries.next().filter(|_| entries.next().is_none())?;
    let mut members = group.get(3).map_or("", String::as_str).split(',');
    let has_others = members
        .any(|name| !name.trim().is_empty() && user.first().is_none_or(|own| own != name.trim()));
    (!is_shared && !has_others).then_some(gid)
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

/// The gid in a line of passwd(5).
fn primary_group(line: &[String]) -> Option<u32> {
    line.get(3)?.parse().ok()
}

fn read_fields(file: &str) -> Vec<Vec<String>> {
    fields(&fs::read_to_string(file).unwrap_or_default())
}

fn fields(text: &str) -> Vec<Vec<String>> {
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

    #[test]
    fn an_account_has_the_groups_that_a_login_gives() {
        let users =
            fields("root:x:0:0::/root:\nhsm:x:101:102:a, b:/var/lib/hsm:/bin/sh\nbad:x:1:x::/:\n");
        let groups =
            fields("hsm:x:102:\nnfast:x:900:eve,hsm\nhsmusers:x:901:hsm2\nodd:x:902: hsm \n");
        let found = account_in("hsm", &users, &groups).unwrap();
        assert_eq!((found.uid, found.gid), (101, 102));
        assert_eq!(found.groups, [102, 900, 902]);
        assert_eq!(found.home, PathBuf::from("/var/lib/hsm"));
        assert_eq!(account_in("hs", &users, &groups), None);
        assert_eq!(account_in("bad", &users, &groups), None);
    }

    #[test]
    fn a_group_is_private_to_the_one_user_who_is_in_it() {
        let users = "root:x:0:0:::\nbob:x:1000:1000:::\neve:x:1001:1001:::\nann:x:1002:100:::\n";
        let own = |uid, more: &str, groups: &str| {
            private_group_of(uid, &fields(&format!("{users}{more}")), &fields(groups))
        };
        assert_eq!(own(1000, "", "bob:x:1000:\n"), Some(1000));
        assert_eq!(own(1000, "", "bob:x:1000:bob\n"), Some(1000));
        assert_eq!(own(1000, "", "bob:x:1000:bob,eve\n"), None);
        assert_eq!(own(1000, "", "eve:x:1001:\n"), None, "not in the file");
        assert_eq!(own(1000, "", "bob:x:1000:\nb2:x:1000:eve\n"), None);
        assert_eq!(own(1000, "ian:x:1003:1000:::\n", "bob:x:1000:\n"), None);
        assert_eq!(own(0, "", "root:x:0:\n"), None, "root has no umask of 002");
        assert_eq!(own(2000, "", "bob:x:1000:\n"), None);
    }
}
