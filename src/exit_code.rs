//! How a command ends: the numbers are a contract with scripts, service managers and monitoring.

/// How a command ends; the numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, and good.
    Good = 0,
    /// The check ran, and its subject falls short.
    Finding = 1,
    /// Usage or configuration, including a certificate that does not fit.
    Configuration = 2,
    /// The token is not available.
    Token = 3,
    /// The PIN was refused, is locked or guarded.
    Pin = 4,
    /// The network, the peer or its certificate was refused, or the peer refused us.
    Network = 5,
    /// A bug of ours.
    Bug = 70,
    /// Ended by SIGINT before it was done: 128 and the signal's number, as shells have it.
    Interrupted = 130,
}

impl ExitCode {
    /// The code of this number; what is none is a bug of ours.
    pub fn of(number: u8) -> Self {
        [
            Self::Good,
            Self::Finding,
            Self::Configuration,
            Self::Token,
            Self::Pin,
            Self::Network,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|code| *code as u8 == number)
        .unwrap_or(Self::Bug)
    }

    /// Of several causes, the one nearest to the token: 4 before 3 before 2 before 5 before 1.
    pub fn nearest_to_token(codes: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| match code {
            Self::Bug => 7,
            Self::Pin => 6,
            Self::Token => 5,
            Self::Configuration => 4,
            Self::Network => 3,
            // What failed before is known; what would have come after is not.
            Self::Interrupted => 2,
            Self::Finding => 1,
            Self::Good => 0,
        };
        codes.into_iter().max_by_key(rank).unwrap_or(Self::Good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_nearest_to_the_token_wins() {
        use ExitCode as E;
        let nearest = |codes: &[E]| E::nearest_to_token(codes.iter().copied());
        assert_eq!(nearest(&[]), E::Good);
        assert_eq!(nearest(&[E::Finding, E::Network]), E::Network);
        assert_eq!(nearest(&[E::Configuration, E::Network]), E::Configuration);
        assert_eq!(nearest(&[E::Token, E::Pin, E::Configuration]), E::Pin);
    }
}
