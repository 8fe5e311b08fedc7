//! `strace -f` as the oracle: no system call, path or address that it saw is missing from the record.

use super::*;

/// A line of strace's output: the call, and the paths in it.
fn traced(line: &str) -> Option<(&str, Vec<&str>)> {
    // "PID call(...", or "PID <... call resumed>...".
    let (_, rest) = line.trim_start().split_once(' ')?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("<... ").unwrap_or(rest);
    let end = rest.find(['(', ' '])?;
    let (call, rest) = rest.split_at(end);
    let named = [
        "open",
        "openat",
        "stat",
        "lstat",
        "newfstatat",
        "statx",
        "access",
        "faccessat",
        "faccessat2",
        "readlink",
        "readlinkat",
        "execve",
        "mkdir",
        "mkdirat",
        "unlink",
        "unlinkat",
        "rmdir",
        "rename",
        "renameat2",
        "link",
        "chmod",
        "chdir",
        "utimensat",
        "truncate",
        "statfs",
    ];
    let relative = |rest: &str| rest.starts_with("(AT_FDCWD, ") || rest.starts_with("(\"");
    let mut paths = Vec::new();
    if named.contains(&call) && relative(rest) {
        let mut words = rest.split('"');
        words.next();
        // The words of `execve`'s arguments are no paths; a rename has two.
        let most = if call.starts_with("rename") || call == "link" {
            2
        } else {
            1
        };
        while let (Some(path), true) = (words.next(), paths.len() < most) {
            paths.push(path);
            if words.next().is_none_or(|between| between.contains(')')) {
                break;
            }
        }
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (!call.is_empty() && call.bytes().all(is_name)).then_some((call, paths))
}

/// The address of a Unix socket or of an Internet family that a line names in its argument.
fn traced_address(line: &str) -> Option<String> {
    let calls = ["connect(", "bind(", "sendto(", "sendmsg("];
    let (call, _) = line.split_once("sa_family=")?;
    if !calls.iter().any(|name| call.contains(name)) {
        return None;
    }
    let after = |mark: &str| Some(line.split_once(mark)?.1);
    let quoted = |text: &'_ str| Some(text.split('"').nth(1)?.to_owned());
    let port = || after("_port=htons(")?.split_once(')').map(|(port, _)| port);
    if line.contains("sa_family=AF_UNIX") {
        return quoted(after("sun_path=")?);
    }
    match after("inet_addr(").and_then(quoted) {
        Some(address) => Some(format!("{address}:{}", port()?)),
        None => {
            let address = quoted(after("inet_pton(AF_INET6")?)?;
            Some(format!("[{address}]:{}", port()?))
        }
    }
}

/// Leaves out calls that a signal interrupted before they were made: the listener was never asked about them.
fn drop_interrupted(lines: &mut Vec<&str>) {
    let pid = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let begun = |at: usize| {
        let before = (0..at)
            .rev()
            .find(|before| pid(lines[*before]) == pid(lines[at]));
        before.filter(|before| lines[*before].ends_with("<unfinished ...>"))
    };
    let ends = lines.iter().enumerate();
    let ends = ends.filter(|(_, line)| line.contains("= ? ERESTARTSYS"));
    let ends: BTreeSet<usize> = ends
        .flat_map(|(at, _)| [Some(at), begun(at)])
        .flatten()
        .collect();
    let mut at = 0;
    lines.retain(|_| {
        at += 1;
        !ends.contains(&(at - 1))
    });
}

const TRACED: &str = "
aegis: 1
name: traced
extends: [shell, python, git]
capabilities:
  files.read: [/usr, /etc/passwd]
  files.write: [$WORK]
  shell.exec: [/usr/bin/strace, gcc, as, ld, strings, /usr/lib/gcc, perl, tar, sort, sqlite3, jq, rg, find, gzip]
syscalls: {allow: [ptrace, process_vm_readv, socket, listen]}
";

/// The oracle: the same run, seen by both.
#[test]
fn nothing_that_strace_saw_is_missing() {
    observed(|workspace| {
        for (name, script) in [
            (
                "find",
                "find /usr/share/doc -name copyright | head -50 | sort > found",
            ),
            (
                "pipeline",
                "cat /etc/passwd | sort | rg root; ls -lR /usr/share/zoneinfo/Etc > /dev/null",
            ),
            (
                "archive",
                "mkdir -p a/b; echo x > a/b/c; tar czf a.tgz a; rm -r a; tar xzf a.tgz; mv a/b/c a/d; ln a/d a/e; chmod 600 a/e",
            ),
            (
                "git",
                "git init -q r; cd r; echo 1 > f; git add f; git -c user.name=x -c user.email=x@y commit -qm one; git log --oneline",
            ),
            (
                "python",
                "python3 -c 'import json, sqlite3, subprocess, os; subprocess.run([\"true\"]); os.makedirs(\"p/q\"); open(\"p/q/r\", \"w\").write(\"1\"); os.rename(\"p/q\", \"p/s\")'",
            ),
            ("network", "python3 network.py"),
            (
                "build",
                "printf 'int main(void) { return 0; }' > prog.c; gcc -O1 -o prog prog.c; strings -a prog | sort | uniq -c > lines; stat prog",
            ),
            (
                "perl",
                "perl -MFile::Find -e 'find(sub { -l $_ && readlink $_ }, \"/etc/alternatives\"); mkdir \"d\"; rename \"d\", \"e\"; symlink \"e\", \"l\"; truncate \"e/x\", 0'",
            ),
            (
                "sqlite",
                "sqlite3 t.db 'create table t(x); insert into t values (1); select * from t'; echo '[1]' | jq .[0]",
            ),
        ] {
            workspace.write("work/network.py", ADDRESSES);
            let trace = workspace.work().join("trace");
            let words = [
                "strace", "-f", "-qq", "-s", "4096", "-o", "trace", "sh", "-ec", script,
            ];
            let seen = seen(workspace, TRACED, &words, 0);
            let trace = std::fs::read(&trace).expect("a trace");
            let trace = String::from_utf8_lossy(&trace);
            let calls: BTreeSet<&str> = seen["calls"]["native"]
                .as_array()
                .expect("calls")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let mut paths = each(&seen["opened"], "asked");
            paths.extend(each(&seen["executed"], "asked"));
            paths.extend(each(&seen["named"], "path"));
            let (mut missing, mut compared) = (BTreeSet::new(), 0);
            // Where a process was when it said a relative path, strace does not tell.
            let known = |path: &str| {
                let end = absolute(Path::new("/"), path);
                end == "/"
                    || paths.contains(&end)
                    || !path.starts_with('/') && paths.iter().any(|path| path.ends_with(&end))
            };
            let reached: BTreeSet<&str> = (seen["addresses"].as_array().expect("a list").iter())
                .filter_map(|address| address["of"].as_object()?.values().next()?.as_str())
                .collect();
            let mut addresses = 0;
            for address in trace.lines().filter_map(traced_address) {
                addresses += 1;
                // Relative to where the process was.
                let same = |known: &&str| {
                    **known == *address
                        || known.starts_with('/') && known.ends_with(&format!("/{address}"))
                };
                if !reached.iter().any(same) {
                    missing.insert(address);
                }
            }
            assert!(addresses > 10 || name != "network", "{trace}");
            let mut lines: Vec<&str> = trace.lines().collect();
            if workspace.is_by_listener() {
                drop_interrupted(&mut lines);
            }
            for (call, named) in lines.into_iter().filter_map(traced) {
                compared += 1;
                // The listener is asked about those with a path, and not what they are of a descriptor.
                let asked = named.iter().any(|path| !path.is_empty());
                if !calls.contains(call) && (asked || !workspace.is_by_listener()) {
                    missing.insert(call.to_owned());
                }
                for path in named
                    .into_iter()
                    .filter(|path| !path.is_empty() && !path.contains('\\'))
                {
                    if !known(path) {
                        missing.insert(format!("{call} {path}"));
                    }
                }
            }
            assert!(compared > 100, "{name}: {trace}");
            let who = (workspace.user, workspace.by);
            let losses = &seen["losses"];
            assert_eq!(missing, BTreeSet::new(), "{name} as {who:?}: {losses}");
            assert_eq!(seen["losses"]["dropped"], 0, "{name}");
            assert_eq!(seen["losses"]["unreadable"], 0, "{name}");
        }
    });
}
