//! The users that signer and front end run as. Where the proxy is started as root, each has one of its own; then a front end
//! that was taken over owns nothing that leads to the PIN. Where both are one user, only the filter of system calls keeps it
//! from changing modes of that user's files: so PIN and configuration must belong to another, or the configuration accepts it.

use rustix::process::geteuid;
use serde::{Deserialize, Deserializer};

use super::listener::Callers;
use super::paths::PathRole;
use super::proxy::ProxyConfig;
use super::{Config, ConfigError};
use crate::accounts::{self, Account};
use crate::owner_and_mode::FileUsers;

/// One of the two processes that may have a user of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceProcess {
    /// It has the module and the PIN.
    Signer,
    /// It parses the network.
    FrontEnd,
}

impl ServiceProcess {
    fn field(self) -> &'static str {
        match self {
            Self::Signer => "`user` of [signer]",
            Self::FrontEnd => "`user` of [proxy]",
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Signer => "the signer, which has the module and the PIN,",
            Self::FrontEnd => "the front end, which parses the network,",
        }
    }
}

/// What stands between processes of the same user.
const ONE_USER: &str = "between these stand Landlock and seccomp only";

impl Config {
    /// The name of the user that the configuration gives a process.
    pub fn user_of(&self, process: ServiceProcess) -> Option<&str> {
        match process {
            ServiceProcess::Signer => self.signer.user.as_deref(),
            ServiceProcess::FrontEnd => self.proxy.as_ref()?.user.as_deref(),
        }
    }

    /// The account that the configuration names for a process, which this process is or can become.
    ///
    /// # Errors
    /// There is no such account, it is root, or this process is another user and not root.
    pub(crate) fn account_of(
        &self,
        process: ServiceProcess,
    ) -> Result<Option<Account>, ConfigError> {
        let Some(name) = self.user_of(process) else {
            return Ok(None);
        };
        let Some(account) = accounts::account(name) else {
            let advice = format!("make it (`adduser --system --group {name}`), or name another");
            return Err(self.refused(process, "/etc/passwd does not list it", advice));
        };
        if account.uid == 0 {
            let advice = "name a user that has no other use".to_owned();
            return Err(self.refused(process, "that is root", advice));
        }
        let me = geteuid();
        if !me.is_root() && me.as_raw() != account.uid {
            let own = accounts::effective_user();
            return Err(self.refused(
                process,
                format!("this process is user {own}, and only root can become another"),
                format!(
                    "start the proxy as root, or other commands as user {name} \
                     (`sudo runuser -u {name} -- hsm-mtls ...`); or take the line out"
                ),
            ));
        }
        Ok(Some(account))
    }

    /// Checks that a command that loads the module in a process of its own runs as the signer's user: as root, it would leave
    /// records of PIN tries that the signer cannot read.
    ///
    /// # Errors
    /// It runs as another user.
    pub fn check_module_user(&self) -> Result<(), ConfigError> {
        match self.account_of(ServiceProcess::Signer)? {
            Some(account) if account.uid != geteuid().as_raw() => Err(self.refused(
                ServiceProcess::Signer,
                "this command is to run as that user: what root writes, the signer could not read",
                format!("`runuser -u {} -- hsm-mtls ...`", account.name),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn refused(
        &self,
        process: ServiceProcess,
        why: impl Into<String>,
        advice: String,
    ) -> ConfigError {
        ConfigError::User {
            path: self.path.clone(),
            field: process.field(),
            name: self.user_of(process).unwrap_or_default().to_owned(),
            why: why.into(),
            advice,
        }
    }

    /// Checks that the signer and the front end of a proxy that this process starts can be the users that are named, that
    /// neither would stay root, and that the front end would own nothing that leads to PIN or configuration.
    ///
    /// # Errors
    /// One of the users cannot be had, or the signer's would have another default of `state_dir`; or, without
    /// `accept_same_user`, a process would stay root, or the front end would own something on the way to one of the files.
    pub fn check_users(&self) -> Result<(), ConfigError> {
        self.account_of(ServiceProcess::Signer)?;
        self.account_of(ServiceProcess::FrontEnd)?;
        self.check_state_dir()?;
        let accepted = self
            .proxy
            .as_ref()
            .is_none_or(|proxy| proxy.accept_same_user);
        if accepted {
            return Ok(());
        }
        let missing = self.without_user();
        if geteuid().is_root() && !missing.is_empty() {
            let texts = |text: fn(ServiceProcess) -> &'static str| {
                let texts: Vec<_> = missing.iter().map(|process| text(*process)).collect();
                texts.join(" and ")
            };
            return Err(ConfigError::StaysRoot {
                path: self.path.clone(),
                processes: texts(ServiceProcess::described),
                missing: texts(ServiceProcess::field),
            });
        }
        self.check_owners(self.uid_of(ServiceProcess::FrontEnd))
    }

    /// The processes for which the configuration names no user.
    fn without_user(&self) -> Vec<ServiceProcess> {
        let mut all = vec![ServiceProcess::Signer, ServiceProcess::FrontEnd];
        all.retain(|process| self.user_of(*process).is_none());
        all
    }

    /// Whether front end and signer would be different users: both are named, and are not one account.
    pub fn has_separate_users(&self) -> bool {
        let [signer, front_end] =
            [ServiceProcess::Signer, ServiceProcess::FrontEnd].map(|process| self.user_of(process));
        let (Some(signer), Some(front_end)) = (signer, front_end) else {
            return false;
        };
        let uid = |name| accounts::account(name).map(|account| account.uid);
        let is_one_account = uid(signer).is_some_and(|own| Some(own) == uid(front_end));
        signer != front_end && !is_one_account
    }

    /// As which users the proxy's processes run, and what stands between them. `None`: there is no `[proxy]`.
    pub fn wall_between_processes(&self) -> Option<String> {
        let proxy = self.proxy.as_ref()?;
        let of = |process| self.user_of(process).unwrap_or("the user that starts it");
        let (signer, front_end) = (of(ServiceProcess::Signer), of(ServiceProcess::FrontEnd));
        let missing = self.without_user();
        let mut text = match (&missing[..], self.has_separate_users()) {
            ([], true) => {
                format!("signer {signer}, front end {front_end}, where root starts the proxy")
            }
            ([], false) => format!("{signer} for both, where root starts the proxy; {ONE_USER}"),
            ([lacking], _) => {
                let field = lacking.field();
                format!(
                    "signer {signer}, front end {front_end}, since {field} is not set; {ONE_USER}"
                )
            }
            _ => format!("{signer}, for signer and front end; {ONE_USER}"),
        };
        match (proxy.accept_same_user, &missing[..]) {
            (true, _) => text.push_str("; they may own PIN and configuration (accept_same_user)"),
            (false, [_, ..]) if geteuid().is_root() => {
                text.push_str("; root cannot start it so");
            }
            _ => {}
        }
        Some(text)
    }

    /// Whose the files of a role may be, and who reads them.
    pub fn file_users(&self, role: &PathRole) -> FileUsers {
        let signer = self.uid_of(ServiceProcess::Signer);
        let front_end = self.uid_of(ServiceProcess::FrontEnd);
        let me = geteuid().as_raw();
        if !self.names_users() || (me != 0 && [signer, front_end] == [me; 2]) {
            return FileUsers::of_this_process();
        }
        match role {
            // The supervisor, as root, does what the configuration says, and makes the sockets.
            PathRole::Configuration | PathRole::Socket => FileUsers::of_root_read_by(0),
            PathRole::Module
            | PathRole::PinProgram
            | PathRole::PinArgument
            | PathRole::HeadSocket
            | PathRole::HeadProgram
            | PathRole::HeadArgument
            | PathRole::Attestation => FileUsers::of_root_read_by(signer),
            PathRole::Anchors | PathRole::Crl | PathRole::CallerToken | PathRole::ProxyAnchors => {
                FileUsers::of_root_read_by(front_end)
            }
            PathRole::AccessLog => FileUsers::of(front_end),
            // `verify` and `request` run as the signer's user, and read them too.
            PathRole::ProxyCredentials => FileUsers {
                owner: signer,
                reader: front_end,
            },
            // `cert install` runs as the signer's user. The pair is proved at each start and reload.
            PathRole::Certificate
            | PathRole::Sig4Certificate
            | PathRole::PinFile
            | PathRole::PinCredential
            | PathRole::StateDir
            | PathRole::WorkingDir
            | PathRole::WorkingDirFile
            | PathRole::ModuleVariable(_)
            | PathRole::SignerFolder
            | PathRole::Ledger => FileUsers::of(signer),
        }
    }

    fn names_users(&self) -> bool {
        [ServiceProcess::Signer, ServiceProcess::FrontEnd]
            .iter()
            .any(|process| self.user_of(*process).is_some())
    }

    /// The uid that a process will have; that of this process where no account is named.
    pub(super) fn uid_of(&self, process: ServiceProcess) -> u32 {
        let account = self.user_of(process).and_then(accounts::account);
        account.map_or_else(|| geteuid().as_raw(), |account| account.uid)
    }
}

impl ProxyConfig {
    /// What `callers` means for a front end that has become another user than the one that started the proxy.
    pub fn set_starting_user(&mut self, uid: u32) {
        for listener in &mut self.listeners {
            if listener.callers == Callers::SameUser {
                let (uids, gids) = (vec![uid], Vec::new());
                listener.callers = Callers::Peers { uids, gids };
            }
        }
    }
}

/// The name of an account.
pub(super) fn account_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '$')
    };
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    match !is_number && name.len() <= 256 && name.chars().all(fits) {
        true => Ok(Some(name)),
        false => Err(serde::de::Error::custom(
            "the name of a user in /etc/passwd, such as \"hsm-mtls\"",
        )),
    }
}
