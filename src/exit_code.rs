//! Exit codes. Scripts, service managers and monitoring depend on the numbers.

/// The exit code of a command. The numbers do not change between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success.
    Good = 0,
    /// A check was completed, and what it checked does not pass.
    Finding = 1,
    /// The command line, the configuration or the certificate is wrong.
    Configuration = 2,
    /// The token is not available.
    Token = 3,
    /// The PIN was refused or is locked, or was not sent because of an earlier refusal.
    Pin = 4,
    /// The network failed, the server was refused, or the server refused the client.
    Network = 5,
    /// A bug in hsm-mtls (EX_SOFTWARE of sysexits.h).
    Bug = 70,
    /// Ended by SIGINT: 128 plus the number of the signal, as shells report it.
    Interrupted = 130,
}

impl ExitCode {
    /// The exit code with this number; [`ExitCode::Bug`] for any other number.
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

    /// The exit code of a command with several errors: that of the error nearest to the token. Of several codes, 70 wins,
    /// then 4, 3, 2, 5, 130, 1. [`ExitCode::Good`] for none.
    pub fn nearest_to_token(codes: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| match code {
            Self::Bug => 7,
            Self::Pin => 6,
            Self::Token => 5,
            Self::Configuration => 4,
            Self::Network => 3,
            // An error before the interruption is more specific, except for a mere finding.
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
