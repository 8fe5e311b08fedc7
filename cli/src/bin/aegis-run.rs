//! `aegis-run`: runs a command with exactly the authority that its profile declares.

#![cfg_attr(not(test), no_main)]

/// Called by the C library. Rust's own start-up does more, such as reading `/proc/self/maps`, for
/// programs with threads and deep stacks.
#[cfg(not(test))]
#[unsafe(export_name = "main")]
extern "C" fn start(_count: i32, _words: *const *const u8) -> i32 {
    aegis_sys::process::begin();
    std::process::exit(aegis_cli::run::main(std::env::args_os().skip(1)).into())
}
