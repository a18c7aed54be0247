//! Faults at the end of a thread or of the process: the libraries behind a module free the data of each thread that made a
//! call, and have exit handlers. They may crash there, or take long.

use std::process;
use std::thread;

use crate::plan_file;

/// An exit handler: `exit` calls it, `_exit` does not.
#[used]
// SAFETY: the dynamic linker calls the functions in this section when the process exits.
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    if plan_file::current().crash_at_exit {
        process::abort();
    }
}

struct ThreadEnd;

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "being slow is what was asked for"
        )]
        thread::sleep(plan_file::current().thread_exit_delay);
    }
}

thread_local! {
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

/// Registers this thread, which makes a call: its end is delayed as planned.
pub(crate) fn register_thread() {
    THREAD_END.with(|_| {});
}
