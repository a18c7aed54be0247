//! Which profile applies to a token, and why: as configured, else by the module's file name, else by its C_GetInfo.
//!
//! A file name is the configuration's word; what C_GetInfo returns is the module's. It is taken for what cannot harm: the kind
//! of the sessions, the keep-alive call, values that mean a refused PIN. That some value of C_Login is *no* refused PIN, so that
//! the same PIN may be sent again, is never believed on its word.

use super::{Family, Profile};
use crate::config::{KeepAliveCall, SessionMode, TokenConfig};

/// manufacturerID and libraryDescription of a module's CK_INFO.
#[derive(Clone, Copy, Debug)]
pub struct LibraryInfo<'a> {
    /// manufacturerID
    pub manufacturer: &'a str,
    /// libraryDescription
    pub description: &'a str,
}

/// What told the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileOrigin {
    /// `profile` of `[[token]]`
    Configured,
    /// The file name of the module.
    FileName,
    /// C_GetInfo
    LibraryInfo,
    /// Nothing: the standard alone. `asked` is whether C_GetInfo was looked at.
    Nothing {
        /// Whether the module was loaded.
        asked: bool,
    },
}

impl ProfileOrigin {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::FileName => "file-name",
            Self::LibraryInfo => "library-info",
            Self::Nothing { .. } => "none",
        }
    }
}

/// The profile of a token, and what told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileChoice {
    /// The profile.
    pub profile: Profile,
    /// What told it.
    pub origin: ProfileOrigin,
    /// The family that C_GetInfo tells, where that is another one.
    pub contradiction: Option<Profile>,
}

impl ProfileChoice {
    /// The choice for this configuration; `library` is known once the module is loaded.
    pub fn new(config: &TokenConfig, library: Option<LibraryInfo<'_>>) -> Self {
        let (profile, origin) = match (config.profile, Profile::of_module(&config.module)) {
            (Some(profile), _) => (profile, ProfileOrigin::Configured),
            (None, Some(profile)) => (profile, ProfileOrigin::FileName),
            (None, None) => {
                let asked = library.is_some();
                (Profile::Standard, ProfileOrigin::Nothing { asked })
            }
        };
        let choice = Self {
            profile,
            origin,
            contradiction: None,
        };
        library.map_or(choice, |library| choice.confirmed(library))
    }

    /// The choice once the module was loaded and has returned this from C_GetInfo.
    pub fn confirmed(mut self, library: LibraryInfo<'_>) -> Self {
        let by_library = Profile::of_library(library);
        if let ProfileOrigin::Nothing { asked } = &mut self.origin {
            *asked = true;
            if let Some(profile) = by_library {
                self.profile = profile;
                self.origin = ProfileOrigin::LibraryInfo;
            }
        }
        self.contradiction = by_library.filter(|other| !self.profile.may_be_told_as(*other));
        self
    }

    /// Whether return values of this family may say of a C_Login that no PIN was compared. Otherwise only those count that say
    /// that it was refused.
    pub fn lifts_refusals(self) -> bool {
        match self.origin {
            // A configuration that was copied for another HSM: its codes mean something else there. p11-kit passes on what is
            // behind it, and SoftHSM locks no PIN.
            ProfileOrigin::Configured => self
                .contradiction
                .is_none_or(|other| matches!(other, Profile::P11Kit | Profile::SoftHsm)),
            ProfileOrigin::FileName => self.contradiction.is_none(),
            ProfileOrigin::LibraryInfo | ProfileOrigin::Nothing { .. } => false,
        }
    }

    /// The call that keeps an idle session alive: as configured, or as the family needs it.
    pub fn keep_alive_call(self, config: &TokenConfig) -> KeepAliveCall {
        let family = self.profile.family();
        let of_family = || family.and_then(|family| family.keep_alive_call);
        config
            .keep_alive_call
            .or_else(of_family)
            .unwrap_or_default()
    }

    /// The kind of the sessions that sign: as configured, or as the family needs it.
    pub fn session(self, config: &TokenConfig) -> SessionMode {
        let family = self.profile.family();
        let of_family = || family.and_then(|family| family.session);
        config.session.or_else(of_family).unwrap_or_default()
    }

    /// Whether the operator has to look at it: nothing tells the family, C_GetInfo tells another one, or its return values are
    /// not all believed.
    pub fn is_doubtful(self) -> bool {
        self.contradiction.is_some()
            || matches!(self.origin, ProfileOrigin::Nothing { .. })
            || self.has_unbelieved_values()
    }

    fn has_unbelieved_values(self) -> bool {
        let outages = self.profile.family().is_some_and(Family::has_outage_values);
        outages && !self.lifts_refusals()
    }

    /// The profile, what told it, what it sets, and what it does not do, for the operator.
    pub fn summary(self, config: &TokenConfig) -> String {
        let name = self.profile.name();
        let mut summary = match self.origin {
            ProfileOrigin::Configured => format!("{name}, as configured"),
            ProfileOrigin::FileName => format!("{name}, by the module's file name"),
            ProfileOrigin::LibraryInfo => {
                format!("{name}, by manufacturerID and libraryDescription of C_GetInfo")
            }
            ProfileOrigin::Nothing { asked: true } => {
                format!("{name}: neither the module's file name nor its C_GetInfo tells a family")
            }
            ProfileOrigin::Nothing { asked: false } => format!(
                "{name}: the module's file name tells no family; `token check` asks its C_GetInfo as well"
            ),
        };
        if let Some(family) = self.profile.family() {
            for setting in family.settings(config) {
                summary.push_str("; ");
                summary.push_str(&setting);
            }
        }
        if let Some(other) = self.contradiction {
            summary.push_str(&format!("; C_GetInfo tells {}", other.name()));
        }
        if self.has_unbelieved_values() {
            summary.push_str("; an outage at the login still counts as a refused PIN: ");
            summary.push_str(&match self.origin {
                ProfileOrigin::Configured => "correct `profile`".to_owned(),
                _ => format!("if this is right, write `profile = \"{name}\"`"),
            });
        }
        summary
    }
}

impl Family {
    /// The settings that it makes, where the configuration has none.
    fn settings(&self, config: &TokenConfig) -> Vec<String> {
        let call = self
            .keep_alive_call
            .filter(|_| config.keep_alive_call.is_none());
        let session = self.session.filter(|_| config.session.is_none());
        let call = call.map(|call| format!("keep_alive_call = \"{}\"", call.name()));
        let session = session.map(|session| format!("session = \"{}\"", session.name()));
        call.into_iter().chain(session).collect()
    }
}

impl TokenConfig {
    /// The profile of this token; `library` is known once the module is loaded.
    pub fn profile(&self, library: Option<LibraryInfo<'_>>) -> ProfileChoice {
        ProfileChoice::new(self, library)
    }
}
