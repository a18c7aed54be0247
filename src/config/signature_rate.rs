//! How often the signer process signs: a sustained rate and a burst. Both follow from the connections that the proxy may
//! have, so that a front end that was taken over cannot use the key, or fill the ledger's disk, beyond what the proxy needs.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::Config;
use super::proxy::ProxyConfig;

/// The attempts that each connection may have within a burst: an outage that ends is a first one, which the hub may still
/// refuse or lose after its handshake, and a second one that lasts.
const ATTEMPTS_IN_A_BURST: u32 = 2;

/// A shorter lifetime of connections does not raise the rate: whoever wants a handshake for almost each request says so.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);

/// Signatures per second, in thousandths: less than one is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureRate {
    thousandths: u32,
}

/// The rate limit of the signer process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureLimit {
    /// The sustained rate.
    pub per_second: SignatureRate,
    /// The number of signatures at once, after a time without.
    pub burst: u32,
}

impl SignatureRate {
    const MAX_PER_SECOND: u32 = 1_000_000;

    /// So many in that time, rounded up.
    pub(crate) fn of(count: u32, time: Duration) -> Self {
        let millis = time.as_millis().max(1);
        let thousandths = (u128::from(count) * 1_000_000).div_ceil(millis);
        let max = Self::MAX_PER_SECOND * 1000;
        Self {
            thousandths: u32::try_from(thousandths).map_or(max, |rate| rate.clamp(1, max)),
        }
    }

    /// The whole number that is not less.
    pub(crate) fn rounded_up(self) -> u32 {
        self.thousandths.div_ceil(1000)
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }
}

impl fmt::Display for SignatureRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_f64(), f)
    }
}

impl fmt::Display for SignatureLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a second, {} at once", self.per_second, self.burst)
    }
}

impl SignatureLimit {
    /// What this proxy needs: each of its connections may be replaced once within `idle_timeout` (or `max_age`, if that is
    /// less), and at once after an outage.
    fn of_proxy(services: usize, max_connections: usize, lifetime: Duration) -> Self {
        let connections = u32::try_from(max_connections * services).unwrap_or(u32::MAX);
        Self {
            per_second: SignatureRate::of(connections, lifetime.max(SHORTEST_LIFETIME)),
            burst: connections.saturating_mul(ATTEMPTS_IN_A_BURST),
        }
    }
}

impl Config {
    /// The rate limit of the signer process: as configured, and otherwise as the proxy needs it. Without a proxy, as the
    /// defaults of `[proxy]` would need it.
    pub fn signature_limit(&self) -> SignatureLimit {
        let (max_connections, lifetime) = match &self.proxy {
            Some(proxy) => (proxy.max_connections, proxy.idle_timeout.min(proxy.max_age)),
            None => ProxyConfig::default_connections(),
        };
        let needed = SignatureLimit::of_proxy(self.hub.services.len(), max_connections, lifetime);
        let per_second = self.signer.per_second.unwrap_or(needed.per_second);
        SignatureLimit {
            per_second,
            // A rate of more than that is not reached with less room.
            burst: self
                .signer
                .burst
                .unwrap_or_else(|| needed.burst.max(per_second.rounded_up())),
        }
    }
}

impl<'de> Deserialize<'de> for SignatureRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = SignatureRate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of signatures per second, such as 0.5 or 20,")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<SignatureRate, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<SignatureRate, E> {
        let thousandths = (number * 1000.0).round();
        let max = f64::from(SignatureRate::MAX_PER_SECOND) * 1000.0;
        match (1.0..=max).contains(&thousandths) {
            true => Ok(SignatureRate {
                thousandths: thousandths as u32,
            }),
            false => Err(E::custom("write a number from 0.001 to 1000000")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const REST: &str = r#"
environment = "preprod"
lfi_code    = "mybank"
token       = [{ module = "/usr/lib/m.so", uri = "pkcs11:token=t", pin = { file = "pin" } }]
c3          = { key = "pkcs11:object=c3;type=private", certificate = "c3.pem" }
trust       = { mode = "trust-framework", anchors = "tf.pem" }
"#;

    fn limit(sections: &str) -> Result<String, String> {
        Config::parse(&format!("{REST}\n{sections}"), Path::new("/etc/bank.toml"))
            .map(|config| config.signature_limit().to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_limit_is_what_the_proxy_needs() {
        let proxy = "[proxy]\nlistener = [{ unix = 'hub.sock' }]\n";
        for (sections, expected) in [
            // 2 services x 128 connections in 50 s, and each twice.
            (String::new(), "5.12 a second, 512 at once"),
            (proxy.to_owned(), "5.12 a second, 512 at once"),
            (
                format!("{proxy}max_connections = 4\n"),
                "0.16 a second, 16 at once",
            ),
            (
                format!("{proxy}max_connections = 1024\nmax_age = '10s'\n"),
                "204.8 a second, 4096 at once",
            ),
            (
                format!("{proxy}max_connections = 1\nidle_timeout = '60m'\nmax_age = '60m'\n"),
                "0.001 a second, 4 at once",
            ),
            (
                format!("{proxy}max_connections = 1024\nidle_timeout = '1ms'\n"),
                "204.8 a second, 4096 at once",
            ),
            (
                "[signer]\nper_second = 0.43\nburst = 40\n".to_owned(),
                "0.43 a second, 40 at once",
            ),
            (
                "[signer]\nper_second = 3\n".to_owned(),
                "3 a second, 512 at once",
            ),
            (
                "[signer]\nper_second = 600.5\n".to_owned(),
                "600.5 a second, 601 at once",
            ),
            (
                "[signer]\nburst = 1\n".to_owned(),
                "5.12 a second, 1 at once",
            ),
        ] {
            assert_eq!(limit(&sections).as_deref(), Ok(expected), "{sections}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for (line, why) in [
            ("per_second = 0", "write a number from 0.001 to 1000000"),
            ("per_second = -1", "write a number from 0.001 to 1000000"),
            ("per_second = nan", "write a number from 0.001 to 1000000"),
            ("per_second = inf", "write a number from 0.001 to 1000000"),
            (
                "per_second = 1000001",
                "write a number from 0.001 to 1000000",
            ),
            (
                "per_second = 'often'",
                "a number of signatures per second, such as 0.5 or 20, is expected here, not text",
            ),
            ("burst = 0", "write a number from 1 to 1000000"),
            ("burst = 1000001", "write a number from 1 to 1000000"),
        ] {
            let error = limit(&format!("[signer]\n{line}\n")).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
            assert!(error.contains("line 9"), "{line}: {error}");
        }
    }
}
