//! The next step after a failed call: as the token's family, the device's state, the return value or its class say it.

use cryptoki::error::RvError;

use super::{Code, Fault, FaultClass};

impl Fault {
    /// What to do next.
    pub fn advice(&self) -> &'static str {
        if let Some(code) = self.vendor {
            return code.advice;
        }
        if let Some(state) = self.device_state() {
            return state.advice();
        }
        match &self.code {
            Code::Ckr(RvError::UserPinNotInitialized) => {
                return "the token has no user PIN yet: its administrator (SO) has to set one";
            }
            Code::Ckr(RvError::UserTypeInvalid) => {
                return "the token does not know this role: correct `user` of [[token]], or --user-type";
            }
            Code::Ckr(RvError::UserAnotherAlreadyLoggedIn | RvError::UserTooManyTypes) => {
                return "another role is logged in to this token through the same module or daemon: end that first";
            }
            Code::Ckr(RvError::FunctionRejected) => {
                return "the device rejects this call: the user or the key may lack a capability for it, or a person at the device said no";
            }
            _ => {}
        }
        match self.class() {
            FaultClass::Session => {
                "the token closed the session; try again, and look at idle time-outs between here and the HSM"
            }
            FaultClass::Key => {
                "the key's handle is stale; try again, and check the key with `hsm-mtls key list`"
            }
            FaultClass::Login => {
                "the token wants a login: set `login = \"always\"` in [[token]] if its flags say otherwise, or \"per-session\" if the \
                 login of one session does not hold for another"
            }
            FaultClass::Pin => {
                "do not repeat it: each wrong try brings the token nearer to its lock; correct the PIN source first"
            }
            FaultClass::Mechanism => {
                "the token does not do this with this key; `hsm-mtls token check` lists what it says it can do"
            }
            FaultClass::SessionLimit => {
                "the token has no session left: lower `sessions`, or end other clients of this token"
            }
            FaultClass::Device => {
                "check that the HSM is reachable, and that its client software finds its configuration (`env` of [[token]])"
            }
            FaultClass::Refused => {
                "the token forbids this; ask its administrator which policy of the key or partition applies"
            }
        }
    }
}
