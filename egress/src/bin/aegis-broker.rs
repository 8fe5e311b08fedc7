//! The way out of one sandbox: started by a launcher, with its socket as standard input. [`aegis_egress`] says what it does.

use std::process::ExitCode;

use aegis_egress::{Files, Limits, confine, serve};

fn main() -> ExitCode {
    let served = confine::itself().map(|socket| serve(socket, Limits::default(), Files::default()));
    match served {
        // Whatever went wrong, the launcher was told.
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}
