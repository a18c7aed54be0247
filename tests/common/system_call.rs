//! A system call by its number, as code that took a process over would make it: past the C library and its checks.

use std::io;

use libc::c_long;

/// What the kernel returns, or its error's number.
///
/// The callers hand over what the call wants: pointers are to memory that lives, or null.
#[allow(
    unsafe_code,
    reason = "only a call by its number shows what the filter says to it"
)]
pub fn system_call<const N: usize>(number: c_long, arguments: [c_long; N]) -> Result<c_long, i32> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: as the callers hand over.
    let returned = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match returned {
        -1 => Err(io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default()),
        returned => Ok(returned),
    }
}

/// Fails the test unless the filter refused the call.
pub fn refused<const N: usize>(what: &str, number: c_long, arguments: [c_long; N]) {
    let returned = system_call(number, arguments);
    assert_eq!(returned, Err(libc::EPERM), "{what} ({number})");
}

/// Fails the test if the call failed.
pub fn works<const N: usize>(what: &str, number: c_long, arguments: [c_long; N]) -> c_long {
    let returned = system_call(number, arguments);
    returned.unwrap_or_else(|error| panic!("{what} ({number}): error {error}"))
}

/// uretprobe and uprobe, which the kernel lets past each filter from Linux 6.14 on. They are for code that it put into a
/// process itself, and end whoever else calls them by a signal.
#[cfg(target_arch = "x86_64")]
const PAST_EACH_FILTER: [c_long; 2] = [335, 336];
#[cfg(not(target_arch = "x86_64"))]
const PAST_EACH_FILTER: [c_long; 0] = [];

/// Every number that this kernel could know and that is not allowed is refused, also as one of the x32 interface.
pub fn all_others_are_refused(allowed: &[c_long]) {
    assert!(allowed.len() > 40, "{allowed:?}");
    let others = (0..=500)
        .filter(|number| !allowed.contains(number))
        .filter(|number| !PAST_EACH_FILTER.contains(number));
    for number in others {
        let expected = match number {
            libc::SYS_clone3 => libc::ENOSYS,
            _ => libc::EPERM,
        };
        let returned = system_call(number, [0; 6]);
        assert_eq!(returned, Err(expected), "system call {number}");
    }
    #[cfg(target_arch = "x86_64")]
    for number in 0..=600 {
        refused("x32", 0x4000_0000 + number, [0; 6]);
    }
}

/// The address of a value as an argument.
pub fn address<T: ?Sized>(of: &T) -> c_long {
    std::ptr::from_ref(of).cast::<u8>() as c_long
}
