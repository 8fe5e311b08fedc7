//! temp
mod runs;
use std::ffi::OsString;
/// x
pub fn main(words: Vec<OsString>) -> u8 {
    let view = aegis_launch::learning::view(&aegis_launch::learning::Learning::default());
    let view = match view {
        Ok(v) => v,
        Err(e) => {
            eprintln!("{e}");
            return 125;
        }
    };
    eprintln!("{}", aegis_profile::show(&view.profile.profile, false));
    for h in &view.hidden {
        eprintln!("hidden {:?}", h);
    }
    let run = runs::Run {
        command: &words,
        policy: None,
        audit: None,
        output: None,
    };
    match run.under(view.profile) {
        Ok(Ok(seen)) => {
            println!("{}", seen.observation.to_json());
            eprintln!("{:?}", seen.report);
            0
        }
        Ok(Err(s)) => s,
        Err(e) => {
            eprintln!("{e}");
            125
        }
    }
}
