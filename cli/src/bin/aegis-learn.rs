//! `aegis-learn`: runs a command to see what it needs, and writes the smallest profile that it runs under.

fn main() {
    aegis_sys::process::begin();
    std::process::exit(aegis_cli::learn::main(std::env::args_os()).into())
}
