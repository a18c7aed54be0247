//! States of a device, the token or this host that a return value names: each has a name, a next step, and a way to be cleared.

/// A state of the device, the token or this host, as a return value names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// The device's log of its own is full, and it does nothing before somebody has fetched it.
    AuditLogFull,
    /// The device has noticed tampering.
    Tampered,
    /// The device has to be restarted.
    RestartRequired,
    /// CKR_DEVICE_MEMORY
    DeviceMemory,
    /// CKR_HOST_MEMORY
    HostMemory,
    /// A vendor's code: the client did not reach the device.
    NotReachable,
    /// CKR_TOKEN_NOT_PRESENT
    TokenNotPresent,
    /// CKR_DEVICE_REMOVED
    DeviceRemoved,
    /// CKR_TOKEN_NOT_RECOGNIZED
    TokenNotRecognized,
}

/// What ends a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearance {
    /// A person. Neither a login nor C_Initialize changes it.
    Operator,
    /// The end of other work. Sessions and login are good, and C_Initialize would end both.
    Wait,
    /// The return of the device: the token is selected and logged in to again.
    Return,
}

impl DeviceState {
    /// Its name in `/readyz`, problem documents, metrics and the log. The text is a contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuditLogFull => "audit-log-full",
            Self::Tampered => "tampered",
            Self::RestartRequired => "restart-required",
            Self::DeviceMemory => "device-memory",
            Self::HostMemory => "host-memory",
            Self::NotReachable => "not-reachable",
            Self::TokenNotPresent => "token-not-present",
            Self::DeviceRemoved => "device-removed",
            Self::TokenNotRecognized => "token-not-recognized",
        }
    }

    /// The state of this name, which another process reports.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    const ALL: [Self; 9] = [
        Self::AuditLogFull,
        Self::Tampered,
        Self::RestartRequired,
        Self::DeviceMemory,
        Self::HostMemory,
        Self::NotReachable,
        Self::TokenNotPresent,
        Self::DeviceRemoved,
        Self::TokenNotRecognized,
    ];

    /// What ends it.
    pub fn clearance(self) -> Clearance {
        match self {
            Self::AuditLogFull | Self::Tampered | Self::RestartRequired => Clearance::Operator,
            Self::DeviceMemory | Self::HostMemory => Clearance::Wait,
            Self::NotReachable
            | Self::TokenNotPresent
            | Self::DeviceRemoved
            | Self::TokenNotRecognized => Clearance::Return,
        }
    }

    /// Whether a new process of the module meets the same state: then it is not started for that.
    pub fn outlasts_process(self) -> bool {
        match self {
            Self::AuditLogFull | Self::Tampered | Self::RestartRequired | Self::DeviceMemory => {
                true
            }
            // The module may have used the memory up itself; a device that is away may be back.
            Self::HostMemory
            | Self::NotReachable
            | Self::TokenNotPresent
            | Self::DeviceRemoved
            | Self::TokenNotRecognized => false,
        }
    }

    /// What to do next.
    pub fn advice(self) -> &'static str {
        match self {
            Self::AuditLogFull => {
                "the device's log is full: its auditor has to fetch it; hsm-mtls goes on by itself then"
            }
            Self::Tampered => {
                "the device reports tampering: its security officer has to look at it"
            }
            Self::RestartRequired => "the device has to be restarted by its administrator",
            Self::DeviceMemory => {
                "the device has no memory left: lower `sessions`, end other clients of it, or remove objects that nobody needs"
            }
            Self::HostMemory => {
                "the module got no memory on this machine: see what uses it up (`free -m`), and the limits of this service"
            }
            Self::NotReachable => {
                "the vendor's client did not reach its HSM: look at the network and at that client's configuration"
            }
            Self::TokenNotPresent => {
                "the slot is empty: put the token back, or see that the HSM is reachable and its partition is assigned to this client"
            }
            Self::DeviceRemoved => {
                "the device is gone: plug it in again, or see that its connector or daemon runs"
            }
            Self::TokenNotRecognized => {
                "the module does not know what is in the slot: is it the right token, and is it initialised?"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_name_and_advice_of_its_own() {
        for state in DeviceState::ALL {
            assert_eq!(DeviceState::named(state.name()), Some(state));
            assert!(!state.advice().is_empty() && !state.advice().ends_with('.'));
            let same = DeviceState::ALL
                .into_iter()
                .filter(|other| other.advice() == state.advice());
            assert_eq!(same.count(), 1, "{state:?}");
        }
        assert_eq!(DeviceState::named("down"), None);
    }
}
