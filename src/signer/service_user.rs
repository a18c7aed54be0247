//! A process that was started as root becomes the user that the configuration names for it, and cannot go back: the signer
//! before it reads the PIN or loads the module, the front end before it reads anything from the network.
//!
//! The system calls are for a thread. They are for the whole process as long as it has one thread only, which is checked.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Gid, Uid, geteuid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::SignerError;
use super::hardening::Measure;
use crate::accounts::{self, Account};
use crate::config::Config;
use crate::config::service_users::ServiceProcess;

const NAME: &str = "user of its own";

/// Becomes the user that the configuration names for this process. `None`: it names none, or this process is that user.
///
/// To be called before other threads are started, and before [`super::hardening`]: the kernel resets "ends with its parent" at
/// a change of the user.
///
/// # Errors
/// The user cannot be had.
pub fn become_user(
    config: &Config,
    process: ServiceProcess,
) -> Result<Option<Measure>, SignerError> {
    let account = config.account_of(process)?;
    let uid = account
        .as_ref()
        .map_or(geteuid().as_raw(), |account| account.uid);
    // Later, Landlock keeps the files of accounts from a front end.
    accounts::private_group(uid);
    let Some(account) = account.filter(|_| geteuid().is_root()) else {
        return Ok(None);
    };
    change_to(&account).map_err(|why| SignerError::Hardening { part: NAME, why })?;
    let detail = format!("{}, uid {}", account.name, account.uid);
    Ok(Some(Measure::new(NAME, true, detail)))
}

/// The environment variables of a signer that becomes another user: some modules look for files in $HOME.
pub fn variables(config: &Config) -> BTreeMap<String, String> {
    let account = config.account_of(ServiceProcess::Signer);
    let Some(account) = account.ok().flatten().filter(|_| geteuid().is_root()) else {
        return BTreeMap::new();
    };
    let home = account.home.to_string_lossy().into_owned();
    let variables = [
        ("HOME", home),
        ("USER", account.name.clone()),
        ("LOGNAME", account.name),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

fn change_to(account: &Account) -> Result<(), String> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| format!("no /proc: {error}"))?;
    if threads.count() != 1 {
        return Err("other threads run already".to_owned());
    }
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<_> = account.groups.iter().copied().map(Gid::from_raw).collect();
    // In this order: without the uid of root, neither groups nor gid can be changed.
    set_thread_groups(&groups).map_err(failed("setgroups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(failed("setresgid"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("setresuid"))?;
    // They went with the uid, except where the securebits of whoever started the supervisor keep them.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if capabilities(None) != Ok(none) {
        set_capabilities(None, none).map_err(failed("capset"))?;
    }
    check_no_way_back(account, none)
}

fn check_no_way_back(account: &Account, none: CapabilitySets) -> Result<(), String> {
    let mut groups = getgroups().map_err(|error| format!("getgroups: {error}"))?;
    groups.sort_unstable_by_key(|group| group.as_raw());
    let groups: Vec<_> = groups.iter().map(|group| group.as_raw()).collect();
    if groups != account.groups || capabilities(None) != Ok(none) {
        return Err("groups or capabilities of root are left".to_owned());
    }
    if set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        return Err("it could become root again".to_owned());
    }
    Ok(())
}
