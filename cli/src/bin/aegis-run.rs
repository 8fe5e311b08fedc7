//! temp
use aegis_runtime::*;
fn main() {
    let mut args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let profile = args.remove(0);
    let loaded = aegis_profile::load(profile.to_str().unwrap(), &aegis_profile::Files).unwrap_or_else(|e| { eprintln!("{e}"); std::process::exit(125) });
    let request = facts::Request { command: args, keep_fds: vec![] };
    let r = (|| { let f = facts::gather(&loaded.profile, loaded.skill_dir.as_deref(), &request)?;
      let plan = plan::compile(&loaded.profile, &request, &f)?;
      if std::env::var_os("EXPLAIN").is_some() { println!("{}", plan.to_json()); std::process::exit(0) }
      supervise::run(&plan, &f) })();
    match r { Ok(r) => { if std::env::var_os("REPORT").is_some() {eprintln!("{}", serde_json::to_string_pretty(&r).unwrap());} for d in &r.denials { eprintln!("{d:?}") } std::process::exit(r.exit_status.into()) }
      Err(e) => { eprintln!("aegis-run: {e}"); std::process::exit(e.exit_status().into()) } }
}
