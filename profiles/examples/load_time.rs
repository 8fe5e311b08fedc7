//! How long it takes to load a small profile that extends `base`: run it with `--release`.

use std::hint::black_box;
use std::time::Instant;

use aegis_profile::{Files, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("aegis-load-time-{}.yaml", std::process::id()));
    std::fs::write(
        &path,
        "aegis: 1\nextends: [base]\nrun: [python3, main.py]\ncapabilities:\n  files.read: [$SKILL, $WORK]\n  \
         files.write: [$WORK/out]\n  shell.exec: [git, python3]\nenvironment: {pass: [LANG], set: {TZ: UTC}}\n\
         limits: {time: 5m, memory: 512M, cpu: 1.5, pids: 64}\n",
    )?;
    let reference = path.to_string_lossy().into_owned();
    for name in [reference.as_str(), "base", "shell", "build"] {
        let first = Instant::now();
        black_box(load(name, &Files)?);
        let first = first.elapsed();
        let mut each: Vec<_> = (0..1000)
            .map(|_| {
                let start = Instant::now();
                black_box(load(name, &Files)).map(|_| start.elapsed())
            })
            .collect::<Result<_, _>>()?;
        each.sort();
        println!(
            "{name}: first {first:?}, median {:?}, 99% {:?}",
            each[500], each[990]
        );
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
