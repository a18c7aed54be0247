//! `GET /hello-mtls`: what the hub saw of us, held against what we presented.
//!
//! 200 alone proves nothing. The body tells whether the hub holds the session for mutual, and whose
//! certificate it saw: a middlebox that ends TLS and makes a session of its own shows here.

use serde::Deserialize;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::Comparison;

/// The body, as far as the scheme describes it. Anything may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// `connectionEstablished`
    pub connection_established: Option<bool>,
    /// `mtlsStatus`: `established` or `not-established`
    pub mtls_status: Option<String>,
    /// `hostName`
    pub host_name: Option<String>,
    /// `clientCertificate`
    pub client_certificate: Option<SeenCertificate>,
}

/// Our certificate as the server saw it.
#[derive(Debug, Default, Deserialize)]
pub struct SeenCertificate {
    /// In the server's rendering.
    pub subject: Option<String>,
    /// In the server's rendering.
    pub issuer: Option<String>,
}

impl Hello {
    /// Reads the body. `None` where it is not the JSON that the scheme describes.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let hello: Self = serde_json::from_slice(body).ok()?;
        let known = hello.connection_established.is_some() || hello.mtls_status.is_some();
        known.then_some(hello)
    }

    /// Whether the hub holds the session for mutual: each field that is there says so.
    pub fn established(&self) -> bool {
        self.connection_established != Some(false)
            && self
                .mtls_status
                .as_deref()
                .is_none_or(|status| status == "established")
    }

    /// Whether subject and issuer are those of the certificate that was presented.
    pub fn compare(&self, presented: &Certificate) -> Comparison {
        let Some(seen) = &self.client_certificate else {
            return Comparison::Inconclusive;
        };
        let pairs = [
            (presented.subject(), &seen.subject),
            (presented.issuer(), &seen.issuer),
        ];
        let verdicts = pairs.map(|(ours, theirs)| {
            theirs
                .as_deref()
                .map_or(Comparison::Inconclusive, |theirs| ours.compare(theirs))
        });
        match verdicts {
            [Comparison::Mismatch, _] | [_, Comparison::Mismatch] => Comparison::Mismatch,
            [Comparison::Match, Comparison::Match] => Comparison::Match,
            _ => Comparison::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_body_that_says_so_is_established() {
        let hello = |body: &str| Hello::parse(body.as_bytes());
        let good = r#"{"connectionEstablished":true,"mtlsStatus":"established","hostName":"cm"}"#;
        assert!(hello(good).unwrap().established());
        for bad in [
            r#"{"connectionEstablished":true,"mtlsStatus":"not-established"}"#,
            r#"{"connectionEstablished":false,"mtlsStatus":"established"}"#,
        ] {
            assert!(!hello(bad).unwrap().established(), "{bad}");
        }
        for other in ["", "<html>ok</html>", "{}", "[]", r#"{"status":"ok"}"#] {
            assert!(hello(other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hello::parse(&body);
        }
    }
}
