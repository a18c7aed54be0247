//! The retry policy of requests to the hub: whether a request that got no response is sent again, after which delay, and
//! over which connection.
//!
//! A request that the hub did not process is retried whatever its method (RFC 9113, section 8.7). One that it may have
//! processed is retried only if it is idempotent (RFC 9110, section 9.2.2).

use std::time::Duration;

use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::http2_error::{HTTP_1_1_REQUIRED, Http2Ending, NO_ERROR, Scope};

/// Retries of a request that the hub did not process: each pooled connection may be about to be closed. Few, because
/// the last retries cost a handshake each, and so a signature of the HSM.
const MAX_UNPROCESSED: u32 = 6;
/// After so many of these retries a new connection is opened for the request: its first request is processed.
const MAX_UNPROCESSED_ON_POOL: u32 = 4;
/// Retries of a request whose HTTP/2 stream the hub refused: each connection may have lowered its maximum number of
/// streams.
const MAX_REFUSED: u32 = 6;
/// Retries of a request of which nothing was written. The last one uses a new connection.
const MAX_UNSENT: u32 = 2;
/// Retries of an idempotent request whose connection was lost. The last one uses a new connection.
const MAX_LOST: u32 = 2;
/// The delay before the first retry of a refused request. It grows by as much with each further one.
const REFUSED_DELAY: Duration = Duration::from_millis(10);

/// Why an attempt got no response.
#[derive(Clone, Copy, Debug)]
pub(super) enum FailedAttempt {
    /// Nothing of it was written.
    Unsent,
    /// The server reported that it did not process the request.
    Unprocessed(Http2Ending),
    /// The connection ended before the response: the request may have been processed.
    Lost,
    /// Any other error: not retried.
    Failed,
}

/// The failed attempts of one request, by cause.
#[derive(Debug, Default)]
pub(super) struct RetryState {
    unsent: u32,
    unprocessed: u32,
    refused: u32,
    lost: u32,
}

impl FailedAttempt {
    pub(super) fn of(unsent: bool, error: &ClientError) -> Self {
        match error {
            _ if unsent => Self::Unsent,
            ClientError::Http2(ending) if ending.is_unprocessed() => Self::Unprocessed(*ending),
            ClientError::NoAnswer(_) | ClientError::ConnectionLost(_) => Self::Lost,
            _ => Self::Failed,
        }
    }
}

impl RetryState {
    /// Counts a failed attempt: the delay before the retry, or None if there is none. `idempotent`: the request may be
    /// processed twice.
    pub(super) fn next_delay(
        &mut self,
        attempt: FailedAttempt,
        idempotent: bool,
    ) -> Option<Duration> {
        let (count, max, delay) = match attempt {
            FailedAttempt::Unsent => (&mut self.unsent, MAX_UNSENT, Duration::ZERO),
            FailedAttempt::Unprocessed(ending) => match (ending.scope, ending.code) {
                (_, NO_ERROR | HTTP_1_1_REQUIRED) => {
                    (&mut self.unprocessed, MAX_UNPROCESSED, Duration::ZERO)
                }
                (Scope::Connection, _) => (&mut self.unprocessed, MAX_UNPROCESSED, REFUSED_DELAY),
                (Scope::Stream, _) => (&mut self.refused, MAX_REFUSED, REFUSED_DELAY),
            },
            FailedAttempt::Lost if idempotent => (&mut self.lost, MAX_LOST, Duration::ZERO),
            FailedAttempt::Lost | FailedAttempt::Failed => return None,
        };
        *count += 1;
        (*count <= max).then(|| delay * *count)
    }

    /// Whether the next attempt uses a new connection.
    pub(super) fn needs_new_connection(&self) -> bool {
        self.unprocessed >= MAX_UNPROCESSED_ON_POOL
            || self.unsent >= MAX_UNSENT
            || self.lost >= MAX_LOST
    }

    /// Whether an attempt has failed before.
    pub(super) fn is_retry(&self) -> bool {
        self.unsent + self.unprocessed + self.refused + self.lost > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsm_mtls::internal::client::http2_error::EndedBy;
    use hsm_mtls::internal::tls::Ending;

    fn ended_by_server(scope: Scope, code: u32) -> ClientError {
        ClientError::Http2(Http2Ending {
            by: EndedBy::Server,
            scope,
            code,
        })
    }

    /// The number of attempts if each fails with the same error.
    fn attempts(error: &ClientError, unsent: bool, idempotent: bool) -> u32 {
        let mut retries = RetryState::default();
        let mut attempts = 1;
        while retries
            .next_delay(FailedAttempt::of(unsent, error), idempotent)
            .is_some()
        {
            attempts += 1;
        }
        attempts
    }

    #[test]
    fn an_unprocessed_request_is_retried_whatever_its_method() {
        for idempotent in [false, true] {
            for (scope, code, expected) in [
                (Scope::Connection, 0x0, 7),
                (Scope::Connection, 0xb, 7),
                (Scope::Connection, 0xd, 7),
                (Scope::Stream, 0x7, 7),
                (Scope::Stream, 0xd, 7),
                (Scope::Stream, 0x2, 1),
                (Scope::Stream, 0x8, 1),
            ] {
                let error = ended_by_server(scope, code);
                assert_eq!(attempts(&error, false, idempotent), expected, "{error}");
            }
        }
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_retried_only_if_idempotent() {
        for error in [
            ClientError::NoAnswer(Ending::Reset),
            ClientError::ConnectionLost(Ending::Orderly),
        ] {
            assert_eq!(attempts(&error, false, false), 1);
            assert_eq!(attempts(&error, false, true), 3);
            assert_eq!(attempts(&error, true, false), 3);
        }
        let malformed = ClientError::Http("no version".to_owned());
        assert_eq!(attempts(&malformed, false, true), 1);
    }

    #[test]
    fn the_last_retry_uses_a_new_connection() {
        let mut retries = RetryState::default();
        assert!(!retries.is_retry());
        let lost = FailedAttempt::of(false, &ClientError::NoAnswer(Ending::Orderly));
        let delays = [
            retries.next_delay(lost, true),
            retries.next_delay(lost, true),
        ];
        assert_eq!(delays, [Some(Duration::ZERO); 2]);
        assert!(retries.needs_new_connection() && retries.is_retry());
    }
}
