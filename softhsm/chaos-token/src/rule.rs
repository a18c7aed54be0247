//! To which calls of which function a line of the plan applies: calls are numbered from 1, for each function.

use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::words::{function_named, number};

/// The outcome of a call by the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The wrapped module is called.
    Pass,
    /// The call returns this, and the wrapped module is not called.
    Fail(CK_RV),
    /// The process is aborted.
    Crash,
}

/// A range of calls of a function, numbered from 1, or each n-th of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    first: u64,
    last: u64,
    every: u64,
}

impl Calls {
    pub(crate) const ALL: Self = Self {
        first: 1,
        last: u64::MAX,
        every: 1,
    };

    pub(crate) fn contain(self, number: u64) -> bool {
        (self.first..=self.last).contains(&number) && number.is_multiple_of(self.every)
    }
}

/// The outcome of some calls of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) function: String,
    pub(crate) calls: Calls,
    pub(crate) verdict: Verdict,
}

impl Rule {
    pub(crate) fn applies_to(&self, function: &str, number: u64) -> bool {
        self.function == function && self.calls.contain(number)
    }

    /// A rule for calls that are given as `3`, `3..5`, `3..`, `*/3` (each third) or `all`.
    pub(crate) fn parse(function: &str, calls: &str, verdict: Verdict) -> Result<Self, String> {
        let calls = match calls.split_once("..") {
            None if calls == "all" => Calls::ALL,
            None if let Some(every) = calls.strip_prefix("*/") => Calls {
                every: number::<u64>(every)?.max(1),
                ..Calls::ALL
            },
            None => {
                let only = number(calls)?;
                Calls {
                    first: only,
                    last: only,
                    every: 1,
                }
            }
            Some((first, last)) => Calls {
                first: number(first)?,
                last: match last {
                    "" => u64::MAX,
                    last => number(last)?,
                },
                every: 1,
            },
        };
        Ok(Self {
            function: function_named(function)?,
            calls,
            verdict,
        })
    }
}

/// A delay of some calls of a function, or of all functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) function: Option<String>,
    pub(crate) calls: Calls,
    pub(crate) time: Duration,
}
