//! The product's proxy as the benchmark runs it: a plain listener for each of the two services, and the defaults otherwise.

use crate::common::proxy::{Ports, Proxy};
use crate::processes;
use crate::servers::free_port;
use crate::setup::Setup;

/// A proxy that runs.
pub struct OwnProxy {
    pub proxy: Proxy,
    /// Where it takes requests for the first and for the second service.
    pub ports: [u16; 2],
}

/// What stands in the configuration beside the defaults.
#[derive(Clone, Copy, Default)]
pub struct Lines<'a> {
    /// Of [proxy].
    pub proxy: &'a str,
    /// Further sections.
    pub sections: &'a str,
}

/// Writes the configuration; returns where the proxy is going to listen.
pub fn configure(setup: &mut Setup, lines: Lines<'_>) -> (Ports, [u16; 2]) {
    let ports = [free_port(), free_port()];
    // No token of callers and no prefix: nginx looks at neither.
    let listener = |port: u16, service: &str| {
        format!(
            "[[proxy.listener]]\ntcp = \"127.0.0.1:{port}\"\ncallers = \"allow-any-local-process\"\nupstream = \"{service}\"\n\n"
        )
    };
    let sections = format!(
        "[signer]\nper_second = 1000000\n\n{}{}{}",
        listener(ports[0], "cm"),
        listener(ports[1], "hh"),
        lines.sections
    );
    let others = Proxy::configure(&mut setup.bank, lines.proxy, &sections);
    (others, ports)
}

impl OwnProxy {
    /// Configures and starts it, and waits until it is ready.
    pub fn start(setup: &mut Setup, lines: Lines<'_>) -> Self {
        let (others, ports) = configure(setup, lines);
        let proxy = Proxy::start(&setup.bank, others);
        Self { proxy, ports }
    }

    /// Supervisor, launcher, signer and front end.
    pub fn processes(&self) -> Vec<u32> {
        let found = processes::tree(self.proxy.pid());
        assert_eq!(found.len(), 4, "{}", self.proxy.log());
        found
    }

    /// Signatures that its front end has asked for and got, since it began.
    pub fn signatures(&self) -> u64 {
        self.proxy.metric("hsm_mtls_signature_seconds_count", &[]) as u64
    }

    /// Connections of one service that are ready, where nobody asks.
    pub fn standing(&self, service: &str) -> usize {
        let ready = self.proxy.ready();
        let upstreams = ready["upstreams"].as_array().expect("upstreams");
        let of_service = upstreams.iter().filter(|found| found["name"] == service);
        let ready = of_service.filter_map(|found| found["ready_connections"].as_u64());
        ready.sum::<u64>() as usize
    }

    pub fn stop(self) {
        self.proxy.signal("TERM");
        self.proxy.ended();
    }
}
