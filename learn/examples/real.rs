#![allow(missing_docs)]
use aegis_learn::*;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
struct Real;
impl Host for Real {
    fn look(&self, path: &Path) -> Option<Fact> {
        let m = std::fs::metadata(path).ok()?;
        let real = std::fs::canonicalize(path).ok()?;
        let executable = m.is_file() && m.permissions().mode() & 0o111 != 0;
        Some(Fact {
            kind: if m.is_file() {
                Kind::File
            } else if m.is_dir() {
                Kind::Directory
            } else {
                Kind::Other
            },
            interpreter: std::fs::read(path)
                .ok()
                .filter(|_| executable)
                .filter(|b| b.starts_with(b"#!"))
                .and_then(|b| {
                    let l = String::from_utf8_lossy(&b[2..b.len().min(200)]).into_owned();
                    l.lines()
                        .next()?
                        .split_whitespace()
                        .next()
                        .map(PathBuf::from)
                }),
            real,
            executable,
        })
    }
    fn files_below(&self, d: &Path, most: usize) -> usize {
        let mut n = 0;
        let mut stack = vec![d.to_path_buf()];
        while let Some(d) = stack.pop() {
            for e in std::fs::read_dir(d).into_iter().flatten().flatten() {
                if e.file_type().unwrap().is_dir() {
                    stack.push(e.path())
                } else {
                    n += 1
                }
                if n >= most {
                    return n;
                }
            }
        }
        n
    }
    fn refused(&self, a: Access, p: &Path) -> Option<String> {
        let s = [
            ("/root/.ssh", "private keys"),
            ("/etc/shadow", "system's own secrets"),
            ("/etc/ssl/private", "secrets"),
        ];
        let _ = a;
        s.iter()
            .find(|(x, _)| p.starts_with(x) || Path::new(x).starts_with(p))
            .map(|(_, w)| (*w).into())
    }
    fn standing(&self, c: &str) -> Option<Standing> {
        Some(match c {
            "clone3" | "openat2" => Standing::Never,
            "execve" | "mmap" | "read" => Standing::Start,
            "ptrace" => Standing::Granted,
            "keyctl" => Standing::OnRequest,
            _ => Standing::Granted,
        })
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let work = PathBuf::from(&args[1]);
    let seen: Vec<_> = args[2..]
        .iter()
        .map(|f| aegis_observation::Observation::from_json(&std::fs::read(f).unwrap()).unwrap())
        .collect();
    let path: Vec<PathBuf> = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        .split(':')
        .map(Into::into)
        .collect();
    let around = Surroundings {
        work: &work,
        home: Path::new("/root"),
        skill: None,
        path: &path,
        host: &Real,
    };
    let options = Options {
        run: true,
        date: "2026-11-29".into(),
        tight: std::env::var_os("TIGHT").is_some(),
        ..Options::default()
    };
    let usage = Usage {
        memory: Some(41 << 20),
        tasks: Some(3),
        time: Some(1234),
        output: Some(100),
    };
    let p = propose(&seen, &around, Some(&usage), &options);
    print!("{}", p.to_yaml());
    let profile = p.profile().unwrap();
    for s in &seen {
        for o in outside(s, &profile, &around) {
            println!("# OUTSIDE {:?} {o}", o.key)
        }
    }
}
