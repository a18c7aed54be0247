//! The response body of `GET /hello-mtls`, and the comparison of the client certificate that the hub saw with the one that
//! was presented.
//!
//! Status 200 alone proves nothing. The body tells whether the hub regards the session as mutual TLS, and which client
//! certificate it saw: that exposes a middlebox that terminates TLS and opens a session of its own.

use serde::Deserialize;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::Comparison;

/// The fields of the body that the scheme describes. Each may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloMtlsResponse {
    /// `connectionEstablished`
    pub connection_established: Option<bool>,
    /// `mtlsStatus`: `established` or `not-established`
    pub mtls_status: Option<String>,
    /// `hostName`
    pub host_name: Option<String>,
    /// `clientCertificate`
    pub client_certificate: Option<SeenCertificate>,
}

/// The client certificate as the server saw it.
#[derive(Debug, Default, Deserialize)]
pub struct SeenCertificate {
    /// The subject as the server renders it.
    pub subject: Option<String>,
    /// The issuer as the server renders it.
    pub issuer: Option<String>,
}

impl HelloMtlsResponse {
    /// Parses the body. `None` if it is not the JSON that the scheme describes.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let hello: Self = serde_json::from_slice(body).ok()?;
        let has_status = hello.connection_established.is_some() || hello.mtls_status.is_some();
        has_status.then_some(hello)
    }

    /// Whether the hub regards the session as mutual TLS: every field that is present says so.
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
    fn mutual_tls_is_established_only_if_the_body_says_so() {
        let hello = |body: &str| HelloMtlsResponse::parse(body.as_bytes());
        let good = r#"{"connectionEstablished":true,"mtlsStatus":"established","hostName":"hub"}"#;
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
            let _ = HelloMtlsResponse::parse(&body);
        }
    }
}
