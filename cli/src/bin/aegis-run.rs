//! `aegis-run`: runs a command with exactly the authority that its profile declares.

fn main() {
    std::process::exit(aegis_cli::run::main(std::env::args_os().skip(1)).into())
}
