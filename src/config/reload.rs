//! Whether a running proxy can apply a changed configuration by a reload, or needs a restart.

use super::Config;

impl Config {
    /// The first section that differs from that of `other` and cannot be reloaded: sockets, origins and limits are set
    /// up at the start. `None`: a reload can apply all differences.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        let listeners = |config: &Self| config.proxy.as_ref().map(|proxy| proxy.listeners.clone());
        let operations = |config: &Self| {
            config
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.operations.clone())
        };
        let sections = [
            ("`environment`", self.environment != other.environment),
            ("`lfi_code`", self.lfi_code != other.lfi_code),
            ("[hub]", self.hub != other.hub),
            ("[sig4]", self.sig4.is_some() != other.sig4.is_some()),
            ("[[proxy.listener]]", listeners(self) != listeners(other)),
            ("[proxy.operations]", operations(self) != operations(other)),
            ("[proxy]", self.proxy != other.proxy),
        ];
        let changed = sections.into_iter().find(|(_, differs)| *differs);
        changed.map(|(section, _)| section)
    }
}
