//! What modules do when a thread or the process ends: the libraries behind them clean up after each thread that made a
//! call, and in exit handlers of the process. One of them crashes there, or takes its time.

use std::process;
use std::thread;

use crate::plan;

/// Called by `exit`, and not by `_exit`.
#[used]
// SAFETY: the dynamic linker calls the functions in this section when the process exits.
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    if plan::current().crash_at_exit {
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
        thread::sleep(plan::current().thread_exit);
    }
}

thread_local! {
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

/// This thread made a call.
pub(crate) fn of_thread() {
    THREAD_END.with(|_| {});
}
