//! Session resumption with a hub that ends each connection: how many signatures so many new connections take.

use crate::own_proxy::{Lines, OwnProxy};
use crate::results::Resumed;
use crate::role::{Measured, Role, play};
use crate::servers::{self, HubKey, ONCE};
use crate::setup::Setup;

/// New connections, one request each.
const REQUESTS: usize = 1000;
const CONNECTIONS: usize = 8;

/// Measures it, with a hub of its own that gives out tickets.
pub fn measured(setup: &mut Setup) -> Resumed {
    eprintln!("{}: resumption", setup.key);
    let hub = servers::hub(&setup.bank, HubKey::P256, true);
    setup.first_service_at(hub.port);
    let lines = Lines {
        proxy: "",
        sections: "[tls]\nresumption = \"1h\"\n",
    };
    let own = OwnProxy::start(setup, lines);
    let opened = || servers::hub_counts(own.ports[0]).0;
    let (before, connections) = (own.signatures(), opened());
    let load = Role::SoMany {
        port: own.ports[0],
        path: ONCE.to_owned(),
        connections: CONNECTIONS,
        requests: REQUESTS,
    };
    let found: Measured = play(&load, &[]);
    let resumed = Resumed {
        key: setup.key,
        requests: found.micros.len(),
        failures: found.failures,
        connections: opened() - connections,
        signatures: own.signatures() - before,
    };
    own.stop();
    let first = setup.hubs[0].port;
    setup.first_service_at(first);
    setup.without_proxy();
    resumed
}
