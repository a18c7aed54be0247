//! The retry policy: whether a request that got no answer is sent again, when, and over which connection.
//!
//! What the hub did not process goes again, whatever its method (RFC 9113, section 8.7). What it may have
//! processed goes again only where that is harmless (RFC 9110, section 9.2.2).

use std::time::Duration;

use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::http2_error::{HTTP_1_1_REQUIRED, Http2Ending, NO_ERROR, Scope};

/// How often a request is sent again that the hub did not process. Each of its connections may be near
/// its end when the request comes. Few: the last of them cost a handshake each, and so a signature of the HSM's.
const UNPROCESSED: u32 = 6;
/// After so many a connection is made for the request alone: the first on it is processed.
const SHARED: u32 = 4;
/// How often a request is sent again where the hub refuses its stream: each connection may have lowered what it
/// takes.
const REFUSED: u32 = 6;
/// How often a request is sent again of which nothing was written, the last time over a connection that is made for
/// it.
const UNSENT: u32 = 2;
/// How often one that is harmless to repeat is, the last time over a connection that is made for it.
const LOST: u32 = 2;
/// The pause after the first refusal; after the second it is twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(10);

/// What is known of an attempt that got no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    /// Nothing of it was written.
    Unsent,
    /// The server says that it did not process it.
    Unprocessed(Http2Ending),
    /// The connection ended before anything of an answer: it may have been processed.
    Lost,
    /// Something else.
    Failed,
}

/// The attempts at one request.
#[derive(Debug, Default)]
pub(super) struct RetryState {
    unsent: u32,
    unprocessed: u32,
    refused: u32,
    lost: u32,
}

impl Attempt {
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
    /// The pause before the request is sent again, where it is. `harmless` where it may be processed twice.
    pub(super) fn after(&mut self, attempt: Attempt, harmless: bool) -> Option<Duration> {
        let (count, most, pause) = match attempt {
            Attempt::Unsent => (&mut self.unsent, UNSENT, Duration::ZERO),
            Attempt::Unprocessed(ending) => match (ending.scope, ending.code) {
                (_, NO_ERROR | HTTP_1_1_REQUIRED) => {
                    (&mut self.unprocessed, UNPROCESSED, Duration::ZERO)
                }
                (Scope::Connection, _) => (&mut self.unprocessed, UNPROCESSED, PAUSE),
                (Scope::Stream, _) => (&mut self.refused, REFUSED, PAUSE),
            },
            Attempt::Lost if harmless => (&mut self.lost, LOST, Duration::ZERO),
            Attempt::Lost | Attempt::Failed => return None,
        };
        *count += 1;
        (*count <= most).then(|| pause * *count)
    }

    /// Whether the next attempt gets a connection that is made for it.
    pub(super) fn wants_fresh(&self) -> bool {
        self.unprocessed >= SHARED || self.unsent >= UNSENT || self.lost >= LOST
    }

    /// Whether this is not the first attempt.
    pub(super) fn is_again(&self) -> bool {
        self.unsent + self.unprocessed + self.refused + self.lost > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsm_mtls::internal::client::http2_error::EndedBy;
    use hsm_mtls::internal::tls::Ending;

    fn by_the_server(scope: Scope, code: u32) -> ClientError {
        ClientError::Http2(Http2Ending {
            by: EndedBy::Server,
            scope,
            code,
        })
    }

    /// How often it is sent in all, where each attempt fails alike.
    fn attempts(error: &ClientError, unsent: bool, harmless: bool) -> u32 {
        let mut retries = RetryState::default();
        let mut attempts = 1;
        while retries
            .after(Attempt::of(unsent, error), harmless)
            .is_some()
        {
            attempts += 1;
        }
        attempts
    }

    #[test]
    fn what_was_not_processed_goes_again_whatever_it_is() {
        for harmless in [false, true] {
            for (scope, code, expected) in [
                (Scope::Connection, 0x0, 7),
                (Scope::Connection, 0xb, 7),
                (Scope::Connection, 0xd, 7),
                (Scope::Stream, 0x7, 7),
                (Scope::Stream, 0xd, 7),
                (Scope::Stream, 0x2, 1),
                (Scope::Stream, 0x8, 1),
            ] {
                let error = by_the_server(scope, code);
                assert_eq!(attempts(&error, false, harmless), expected, "{error}");
            }
        }
    }

    #[test]
    fn what_may_have_been_processed_goes_again_only_where_that_is_harmless() {
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
    fn the_last_attempts_have_a_connection_of_their_own() {
        let mut retries = RetryState::default();
        assert!(!retries.is_again());
        let lost = Attempt::of(false, &ClientError::NoAnswer(Ending::Orderly));
        let pauses = [retries.after(lost, true), retries.after(lost, true)];
        assert_eq!(pauses, [Some(Duration::ZERO); 2]);
        assert!(retries.wants_fresh() && retries.is_again());
    }
}
