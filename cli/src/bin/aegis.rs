//! `aegis`: the host, profiles, completions, manual pages.

fn main() {
    std::process::exit(aegis_cli::aegis::main(std::env::args_os()).into())
}
