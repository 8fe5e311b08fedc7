//! The way out of one sandbox: started by a launcher, with its socket as standard input. [`aegis_egress`] says what it does.

use std::process::ExitCode;

use aegis_egress::{Files, Limits, confine};

/// What a person is told who starts it.
const ABOUT: &str = "\
aegis-broker is the way out of one sandbox, and in: it connects to the hosts that a profile names, where the
policy lets it, puts the profile's secrets into requests, and tells of each connection. `aegis-run` starts it, with
a socket as standard input, for each run of a profile with `net.outbound` or `net.listen`. It takes no arguments, and
there is nothing to be done with it by hand.";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [only] = &*arguments else {
        let launcher = arguments.is_empty().then(confine::launcher);
        return launcher.flatten().map_or_else(by_hand, |socket| {
            match confine::serve(socket, Limits::default(), Files::default()) {
                Ok(()) => ExitCode::SUCCESS,
                // The launcher was told why.
                Err(_) => ExitCode::FAILURE,
            }
        });
    };
    match only.to_str() {
        Some("--help" | "-h") => println!("{ABOUT}"),
        Some("--version" | "-V") => println!("aegis-broker {}", env!("CARGO_PKG_VERSION")),
        _ => return by_hand(),
    }
    ExitCode::SUCCESS
}

fn by_hand() -> ExitCode {
    eprintln!("{ABOUT}");
    ExitCode::from(125)
}
