//! Has what a start executes laid side by side in `aegis-run`: the kernel maps a program in windows of 64 KB, and so a start
//! maps a third less of it. `startup.ld` names these functions, and is made by `scripts/startup-order`.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=startup.ld");
    let (folder, profile) = (var("CARGO_MANIFEST_DIR"), var("PROFILE"));
    // These linkers have no such scripts.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let takes_scripts = !["mold", "gold", "wild"]
        .iter()
        .any(|linker| flags.contains(linker));
    if let (Ok(folder), Ok("release"), true) = (folder, profile.as_deref(), takes_scripts) {
        for argument in ["-Xlinker", &format!("--script={folder}/startup.ld")] {
            println!("cargo:rustc-link-arg-bin=aegis-run={argument}");
        }
    }
}
