//! Profiles that are invalid, missing, unreachable or huge: each is refused with the place and
//! a fix, and the command is not started.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{Seek, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use aegis_tests::outcome::refused;
use aegis_tests::{USERS, User, Workspace, program, text};

/// The first four lines of a profile; the mistake is in line 5.
const TOP: &str = "aegis: 1\nname: bad\nextends: [shell]\nrun: [touch, started]\n";

/// `aegis-run --profile PROFILE`, whose `run` would leave `$WORK/started`.
fn aegis(workspace: &Workspace, profile: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = workspace.command(program("aegis-run"));
    command
        .args(["--set", "capabilities.files.write=[$WORK]", "--profile"])
        .arg(profile);
    command
}

/// Asserts that a profile with this after [`TOP`] is refused, and that all of these are in the message.
#[track_caller]
fn refuses(workspace: &Workspace, rest: &str, says: &[&str]) {
    let profile = workspace.profile(&format!("{TOP}{rest}"));
    let said = refused(workspace, &mut aegis(workspace, profile), 125);
    for part in says {
        assert!(said.contains(part), "{rest}: no {part:?} in\n{said}");
    }
    assert!(said.contains("help: "), "{rest}: no help in\n{said}");
}

#[test]
fn the_profile_that_the_others_spoil_is_a_good_one() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(TOP);
        let output = aegis(&workspace, profile).output().expect("aegis-run");
        assert!(output.status.success(), "{}", text(&output));
        assert!(workspace.work().join("started").exists());
    }
}

#[test]
fn what_the_format_does_not_have_is_refused_with_its_place_and_the_nearest_that_it_has() {
    let workspace = Workspace::new(User::Ordinary);
    for (rest, says) in [
        (
            "capabilites: {}\n",
            &[
                "unknown key",
                "capabilites",
                "profile.yaml:5:1",
                "did you mean",
            ][..],
        ),
        (
            "limits: {tme: 5m}\n",
            &["unknown key", "profile.yaml:5:10", "did you mean"],
        ),
        (
            "limits: {time: 5}\n",
            &["needs a unit", "profile.yaml:5:16"],
        ),
        ("limits: {time: 5M}\n", &["not a time", "profile.yaml:5:16"]),
        (
            "limits: {memory: 5s}\n",
            &["not a size", "profile.yaml:5:18"],
        ),
        ("limits: {disk-read: 5M}\n", &["profile.yaml:5:21"]),
        ("limits: {pids: 0}\n", &["profile.yaml:5:16"]),
        ("limits: {memory: 99999999999T}\n", &["profile.yaml:5:18"]),
        ("limits: {cpu: -1}\n", &["profile.yaml:5:15"]),
        (
            "name: twice\n",
            &["`name` is given twice", "profile.yaml:5:1", "line 2"],
        ),
        (
            "limits: {pids: 1, pids: 2}\n",
            &["`pids` is given twice", "profile.yaml:5:19"],
        ),
        ("limits: &a {pids: 1}\n", &["profile.yaml:5"]),
        ("limits: !!map {pids: 1}\n", &["profile.yaml:5"]),
        ("---\naegis: 1\n", &["profile.yaml:5"]),
        ("description: \"\x1b[2J\"\n", &["profile.yaml:5"]),
        ("description: \"\u{202e}gpj.exe\"\n", &["profile.yaml:5"]),
    ] {
        refuses(&workspace, rest, says);
    }
    let profile = workspace.profile(&format!("{TOP}limits: {{pids: 1\n"));
    let said = refused(&workspace, &mut aegis(&workspace, profile), 125);
    assert!(
        said.contains("not valid YAML") && said.contains("profile.yaml:6:1"),
        "{said}"
    );
}

#[test]
fn paths_that_are_missing_or_lead_outside_are_refused() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let outside = workspace.outside();
        std::fs::write(outside.join("secret"), "s").expect("a file of ours");
        symlink(&outside, workspace.work().join("out")).expect("a link");
        symlink("../outside/secret", workspace.work().join("secret")).expect("a link");
        symlink("loop", workspace.work().join("loop")).expect("a link");
        workspace.write("work/file", "");
        for (path, says) in [
            (
                "/nowhere/at/all",
                &["does not exist", "-/nowhere/at/all"][..],
            ),
            (
                "$WORK/missing",
                &["missing does not exist", "-$WORK/missing"],
            ),
            ("$WORK/file/below", &["is not a directory"]),
            ("$WORK/out", &["symbolic link", "leads out"]),
            ("$WORK/secret", &["symbolic link", "leads out"]),
            ("$WORK/loop", &["too many symbolic links"]),
            ("../x", &["relative path", "$WORK/../x"]),
            ("$WORK/../outside", &["`..`"]),
            ("x", &["relative path"]),
            ("~/x", &[]),
            ("$NOWHERE/x", &[]),
            ("/", &["whole file system"]),
            ("/proc", &["/proc"]),
            ("\"\"", &[]),
        ] {
            for key in ["files.read", "files.write"] {
                let mut all = vec!["profile.yaml:6:"];
                all.extend(says);
                let rest = format!("capabilities:\n  {key}: [{path}]\n");
                refuses(&workspace, &rest, &all);
            }
        }
        let long = format!("capabilities:\n  files.read: [/{}]\n", "x".repeat(300));
        refuses(&workspace, &long, &["profile.yaml:6:"]);
    }
}

#[test]
fn a_profile_that_is_not_there_or_no_file_is_refused() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let empty = workspace.write("empty.yaml", "");
        for (profile, says) in [
            ("../missing.yaml", &["no file `../missing.yaml`"][..]),
            ("missing", &["no built-in profile `missing`", "base, shell"]),
            ("pyton", &["no built-in profile", "did you mean `python`"]),
            ("../home", &["is a directory"]),
            ("/dev/zero", &["is a device"]),
            ("/etc/hostname/x.yaml", &["/etc/hostname"]),
            ("", &["no built-in profile"]),
            (empty.to_str().expect("UTF-8"), &["empty.yaml"]),
        ] {
            let said = refused(&workspace, aegis(&workspace, profile).arg("true"), 125);
            for part in says {
                assert!(said.contains(part), "{profile}: no {part:?} in\n{said}");
            }
        }
        // Opening a pipe that nobody writes to must not block.
        let pipe = workspace.outside().join("pipe.yaml");
        let made = workspace.command("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo starts").success());
        refused(&workspace, &mut aegis(&workspace, &pipe), 125);
    }
}

#[test]
fn a_profile_that_this_user_may_not_read_is_refused() {
    let workspace = Workspace::new(User::Ordinary);
    let profile = workspace.profile(TOP);
    std::os::unix::fs::chown(&profile, Some(0), Some(0)).expect("chown");
    std::fs::set_permissions(&profile, Permissions::from_mode(0o600)).expect("chmod");
    let said = refused(&workspace, &mut aegis(&workspace, &profile), 125);
    assert!(
        said.contains("ermission") || said.contains("may not"),
        "{said}"
    );
    assert!(said.contains("profile.yaml"), "{said}");
    let locked = workspace.outside().join("locked");
    std::fs::create_dir(&locked).expect("mkdir");
    std::fs::set_permissions(&locked, Permissions::from_mode(0o700)).expect("chmod");
    let said = refused(
        &workspace,
        &mut aegis(&workspace, locked.join("p.yaml")),
        125,
    );
    assert!(
        said.contains("ermission") || said.contains("may not"),
        "{said}"
    );
    // Neither can a declared path there be reached.
    let path = locked.join("data");
    std::fs::write(&path, "").expect("a file of ours");
    let rest = format!("capabilities:\n  files.read: [{}]\n", path.display());
    refuses(
        &workspace,
        &rest,
        &["may not be searched", "profile.yaml:6:"],
    );
}

#[test]
fn a_profile_whose_path_is_not_utf8_works_or_is_told_how_to_be_given() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let path = workspace
            .outside()
            .join(std::ffi::OsStr::from_bytes(b"\xff.yaml"));
        std::fs::write(&path, TOP).expect("a file of ours");
        let said = refused(&workspace, &mut aegis(&workspace, &path), 125);
        assert!(
            said.contains("--profile") && said.contains("not UTF-8"),
            "{said}"
        );
        let file = std::fs::File::open(&path).expect("a file of ours");
        let output = aegis(&workspace, "-")
            .stdin(file)
            .output()
            .expect("aegis-run");
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_profile_named_by_a_path_that_goes_up_has_its_directory_as_skill() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write(
            "skill/p.yaml",
            format!("{TOP}capabilities: {{files.read: [$SKILL]}}\n"),
        );
        workspace.write("skill/data", "of the skill");
        let skill = workspace.outside().with_file_name("skill");
        let mut command = aegis(&workspace, "../outside/../skill/p.yaml");
        let output = command
            .arg("cat")
            .arg(skill.join("data"))
            .output()
            .expect("aegis-run");
        assert_eq!(output.stdout, b"of the skill", "{}", text(&output));
        let mut command = aegis(&workspace, "../skill/p.yaml");
        let output = command
            .args(["--explain", "true"])
            .output()
            .expect("aegis-run");
        let plan = String::from_utf8_lossy(&output.stdout);
        assert!(plan.contains(&format!("{}", skill.display())), "{plan}");
        assert!(!plan.contains("work/.."), "{plan}");
    }
}

#[test]
fn a_profile_that_is_no_text_is_refused() {
    let workspace = Workspace::new(User::Ordinary);
    for bytes in [
        &b"aegis: 1\nname: \xff\n"[..],
        b"\x00\x00\x00",
        b"\x7fELF\x02\x01",
        b"\xff\xfea\x00",
    ] {
        let profile = workspace.write("profile.yaml", bytes);
        refused(&workspace, &mut aegis(&workspace, profile), 125);
    }
}

#[test]
fn a_profile_of_100_megabytes_is_refused_at_once() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let path = workspace.profile(TOP);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("a file of ours");
        let comment = format!("# {}\n", "x".repeat((1 << 20) - 3));
        for _ in 0..100 {
            file.write_all(comment.as_bytes()).expect("room for 100 MB");
        }
        let said = refused(&workspace, &mut aegis(&workspace, &path), 125);
        assert!(said.contains("larger than 1 MiB"), "{said}");
        let mut file = std::fs::File::open(&path).expect("a file of ours");
        let input = file.try_clone().expect("a descriptor");
        let said = refused(&workspace, aegis(&workspace, "-").stdin(input), 125);
        assert!(said.contains("larger than 1 MiB"), "{said}");
        // The offset in the file is shared: most of it has not been read.
        let read = file.stream_position().expect("a file has a place");
        assert!(read <= 2 << 20, "{read} bytes were read");
    }
}

#[test]
fn a_profile_from_an_endless_stream_is_refused() {
    let workspace = Workspace::new(User::Ordinary);
    let mut endless = Command::new("yes")
        .arg("# more")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("yes starts");
    let out = endless.stdout.take().expect("piped");
    let said = refused(&workspace, aegis(&workspace, "-").stdin(out), 125);
    assert!(said.contains("larger than 1 MiB"), "{said}");
    endless.wait().expect("it cannot go on");
}

#[test]
fn profiles_that_extend_each_other_without_end_are_refused() {
    let workspace = Workspace::new(User::Ordinary);
    workspace.write("a.yaml", "aegis: 1\nextends: [./b.yaml]\n");
    let b = workspace.write("b.yaml", "aegis: 1\nextends: [./a.yaml]\n");
    let said = refused(&workspace, &mut aegis(&workspace, b), 125);
    assert!(
        said.contains("extends") || said.contains("itself"),
        "{said}"
    );
    refuses(&workspace, "extends: [nosuch]\n", &["twice"]);
    let text = TOP.replace("[shell]", "[shell, ./missing.yaml]");
    let profile = workspace.profile(&text);
    let said = refused(&workspace, &mut aegis(&workspace, profile), 125);
    assert!(
        said.contains("profile.yaml:3:18") && said.contains("missing.yaml"),
        "{said}"
    );
}

#[test]
fn settings_on_the_command_line_are_read_as_strictly() {
    let workspace = Workspace::new(User::Ordinary);
    for (set, says) in [
        ("limits.time=5", "needs a unit"),
        ("limits.tme=5s", "did you mean"),
        ("limits", "="),
        ("", "="),
        ("capabilities.files.read=[/nowhere]", "does not exist"),
        ("capabilities.files.read=[../x]", "relative path"),
    ] {
        let mut command = workspace.command(program("aegis-run"));
        command.arg("--set").arg(set).args(["touch", "started"]);
        let said = refused(&workspace, &mut command, 125);
        assert!(
            said.contains(says) && said.contains("--set"),
            "{set}: {said}"
        );
    }
}

/// Makes directories in `$WORK`, and a profile that grants each of them.
fn many(workspace: &Workspace, count: usize) -> std::path::PathBuf {
    let mut profile = format!("{TOP}capabilities:\n  files.read:\n");
    for number in 0..count {
        let path = format!("many/{}/{number}", number % 100);
        std::fs::create_dir_all(workspace.work().join(&path)).expect("mkdir");
        writeln!(profile, "    - $WORK/{path}").expect("a string grows");
    }
    workspace.profile(&profile)
}

#[test]
fn ten_thousand_grants_work_with_the_descriptors_that_a_shell_has() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = many(&workspace, 10_000);
        // The default of systemd and every distribution: 1024, which may be raised.
        let script = r#"
            ulimit -Sn 1024
            exec "$0" --profile "$1" -- sh -c 'ls -ld "$0"/many/*/* | wc -l; ulimit -Sn' "$PWD"
        "#;
        let output = workspace
            .command("sh")
            .args(["-c", script])
            .arg(program("aegis-run"))
            .arg(profile)
            .output()
            .expect("sh starts");
        assert!(output.status.success(), "{user:?}: {}", text(&output));
        // The command has the limit that the shell had.
        assert_eq!(output.stdout, b"10000\n1024\n", "{}", text(&output));
    }
}

#[test]
fn too_few_descriptors_are_told_as_such() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = many(&workspace, 500);
        let script =
            r#"ulimit -n 24; exec "$0" --set 'capabilities.files.write=[$WORK]' --profile "$1""#;
        let mut command = workspace.command("sh");
        command
            .args(["-c", script])
            .arg(program("aegis-run"))
            .arg(&profile);
        let output = command.output().expect("sh starts");
        // It works with these, or says what is missing.
        if !output.status.success() {
            let said = refused(&workspace, &mut command, 125);
            assert!(said.contains("Too many open files"), "{said}");
            assert!(said.contains("ulimit -n"), "what to do about it: {said}");
        }
        assert!(Path::new(&profile).exists());
    }
}
