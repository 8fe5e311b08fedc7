//! `aegis-learn`: runs a command to see what it needs, and writes the smallest profile that it runs under.

#![cfg_attr(not(test), no_main)]

/// Called by the C library. Rust's own start-up would open closed standard descriptors, and nobody could tell any more.
#[cfg(not(test))]
#[unsafe(export_name = "main")]
extern "C" fn start(_count: i32, _words: *const *const u8) -> i32 {
    aegis_sys::process::begin();
    std::process::exit(aegis_cli::learn::main(std::env::args_os()).into())
}
