//! Conditions on the arguments of a system call. A filter sees the arguments as numbers: it compares flags, commands and
//! process ids, and whether a pointer is null, but not what is in memory.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

/// A condition on one argument, which is told by its place (from 0).
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// It is this number.
    Is(u8, u32),
    /// The bits of the mask have this value.
    Bits { at: u8, mask: u32, value: u32 },
    /// The pointer is null.
    Null(u8),
}

impl Argument {
    /// It has none of these bits.
    pub(super) const fn without(at: u8, mask: u32) -> Self {
        Self::Bits { at, mask, value: 0 }
    }

    pub(super) fn condition(&self) -> Result<SeccompCondition, BackendError> {
        // The kernel reads half of the register for an int, so the other half must not decide.
        let (at, length, operator, value) = match *self {
            Self::Is(at, value) => (at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
            Self::Bits { at, mask, value } => {
                let operator = SeccompCmpOp::MaskedEq(mask.into());
                (at, SeccompCmpArgLen::Dword, operator, value)
            }
            Self::Null(at) => (at, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
        };
        SeccompCondition::new(at, length, operator, value.into())
    }
}

/// A flag or command of libc, of which the bits count.
pub(super) const fn bits(of_libc: i32) -> u32 {
    of_libc.cast_unsigned()
}

/// One list for each value that the argument may have.
pub(super) fn one_of(at: u8, values: &[u32]) -> Vec<Vec<Argument>> {
    let lists = values.iter().map(|value| vec![Argument::Is(at, *value)]);
    lists.collect()
}
