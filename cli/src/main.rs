//! The command: all of it is in the library beside this file.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Memory is cleared when it is freed, in each process: libraries copy what they send, and a token of JWT Auth or a customer's
/// data would else lie in the front end, for whoever takes it over, until something else is written there.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    hsm_mtls_cli::main()
}
