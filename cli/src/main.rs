//! The command: all of it is in the library beside this file.

fn main() {
    hsm_mtls_cli::main()
}
