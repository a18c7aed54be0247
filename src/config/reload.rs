//! Whether a running proxy can reload a changed configuration, or needs a restart for it.

use super::Config;

impl Config {
    /// The first section that differs in another configuration and cannot be reloaded, since sockets, origins and limits
    /// are set up at the start. `None`: a reload can apply all differences.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        let listeners = |config: &Self| config.proxy.as_ref().map(|proxy| proxy.listeners.clone());
        let operations = |config: &Self| {
            config
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.operations.clone())
        };
        let parts = [
            ("`environment`", self.environment != other.environment),
            ("`lfi_code`", self.lfi_code != other.lfi_code),
            ("[hub]", self.hub != other.hub),
            ("[[proxy.listener]]", listeners(self) != listeners(other)),
            ("[proxy.operations]", operations(self) != operations(other)),
            ("[proxy]", self.proxy != other.proxy),
        ];
        let differs = parts.into_iter().find(|(_, differs)| *differs);
        differs.map(|(part, _)| part)
    }
}
