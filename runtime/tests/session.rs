//! Plans made of operations, carried out as the user who runs the tests and, if that is root, as
//! an ordinary user too.

use std::fs::{File, Permissions};
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_runtime::facts::{self, paths};
use aegis_runtime::plan::{self, Op, Operation, Spec};
use aegis_runtime::supervise::report::{Cause, Report};
use aegis_runtime::supervise::{Built, Options, Watched, run_id};
use aegis_runtime::types::{BrokerSocket, Identity, Network, Protocol};

/// An ordinary user, who need not be in `/etc/passwd`.
const USER: u32 = 20_000;

fn directory(at: &str) -> Operation {
    Op::Directory { mode: 0o755 }.at(at)
}

fn tmpfs(at: &str, size: u64, mode: u32) -> Operation {
    Op::Tmpfs { size, mode }.at(at)
}

fn bind(at: &str, host: &Path, identity: &Identity) -> Operation {
    let found = paths::resolve(host, &paths::Trust::default()).expect("it is there");
    Op::Bind {
        source: found.host_path(identity, true),
        write: false,
        exec: true,
        overlay: false,
    }
    .at(at)
}

/// A root with the system's programs, in which bash runs a script.
fn spec(script: &str, more: Vec<Operation>) -> (Spec, facts::Host) {
    let host = facts::host();
    let identity = plan::identity(&host, (0, 0));
    let mut operations = vec![tmpfs("/", 1 << 20, 0o755), directory("/usr")];
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (at, target) = (Path::new("/").join(name), Path::new("usr").join(name));
        operations.push(Op::Symlink { target }.at(at));
    }
    operations.push(bind("/usr", Path::new("/usr"), &identity));
    operations.extend(more);
    let program = PathBuf::from("/usr/bin/bash");
    let spec = Spec {
        operations,
        argv: ["bash", "-c", script].map(Into::into).into(),
        set: [("PATH".into(), facts::DEFAULT_PATH.into())].into(),
        ..Spec::new("made by hand", program, identity)
    };
    (spec, host)
}

fn build(spec: Spec, host: &facts::Host) -> Built {
    let plan = plan::assemble(spec, host).expect("a plan");
    let options = Options {
        id: &run_id(),
        ..Options::default()
    };
    Built::new(plan, host, options).expect("a sandbox")
}

fn run(spec: Spec, host: &facts::Host) -> Report {
    let mut session = build(spec, host).go().expect("it goes");
    while session
        .poll(&mut [], None)
        .expect("it is watched")
        .is_running()
    {}
    session.finish().expect("a report").report
}

/// Runs the test `name` as [`USER`], where this is root.
fn as_ordinary_user(name: &str) {
    if !rustix::process::geteuid().is_root() {
        return; // The test itself has run as one.
    }
    let place = tempfile::tempdir().expect("a directory");
    let public = || Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(), public()).expect("public");
    let copy = place.path().join("tests");
    let program = std::env::current_exe().expect("this program");
    std::fs::copy(program, &copy).expect("a copy");
    std::fs::set_permissions(&copy, public()).expect("public");
    let status = Command::new(&copy)
        .args(["--exact", name, "--nocapture"])
        .env("HOME", "/")
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .status()
        .expect("it runs");
    assert!(status.success(), "as an ordinary user: {status}");
}

#[test]
fn a_tmpfs_has_its_own_size_and_mode_and_a_remount_takes_rights_away() {
    let script = r#"
        [ "$(stat -c %a /big)" = 1770 ] || exit 10
        head -c 3000000 /dev/zero > /big/file || exit 11
        head -c 2000000 /dev/zero > /big/more 2> /dev/null && exit 12
        [ "$(cat /shut/note)" = "kept" ] || exit 13
        echo x 2> /dev/null > /shut/more && exit 14
        mkdir /made 2> /dev/null && exit 15
        cp /usr/bin/true /big/run && /big/run 2> /dev/null && exit 16
        exit 42"#;
    let text = "kept".to_owned();
    let more = vec![
        directory("/big"),
        tmpfs("/big", 4 << 20, 0o1770),
        directory("/dev"),
        Op::MountPoint.at("/dev/zero"),
        Op::MountPoint.at("/dev/null"),
        device("/dev/zero"),
        device("/dev/null"),
        directory("/shut"),
        tmpfs("/shut", 1 << 20, 0o777),
        Op::File { text, mode: 0o666 }.at("/shut/note"),
        Op::Remount {
            read_only: true,
            noexec: false,
        }
        .at("/shut"),
    ];
    let (spec, host) = spec(script, more);
    assert_eq!(run(spec, &host).cause, Cause::Exited { status: 42 });
    as_ordinary_user("a_tmpfs_has_its_own_size_and_mode_and_a_remount_takes_rights_away");
}

fn device(path: &str) -> Operation {
    Op::Device {
        path: path.into(),
        name: None,
    }
    .at(path)
}

#[test]
fn a_connection_made_inside_arrives_at_the_socket_that_was_handed_out() {
    let (mut spec, host) = spec("echo hello > /dev/tcp/127.0.0.1/53", Vec::new());
    let address = ([127, 0, 0, 1], 53).into();
    spec.network = Network::Brokered;
    spec.listeners = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| BrokerSocket { protocol, address })
        .into();
    let mut built = build(spec, &host);
    built.wait().expect("everything is built");
    let mut listeners = built.listeners();
    assert_eq!(listeners.len(), 2);
    let listener = TcpListener::from(listeners.remove(0));
    let mut session = built.go().expect("it goes");
    let mut text = String::new();
    loop {
        let mut watched = [Watched {
            fd: listener.as_fd(),
            ready: false,
        }];
        let progress = session.poll(&mut watched, None).expect("it is watched");
        if watched[0].ready && text.is_empty() {
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.read_to_string(&mut text).expect("text");
        }
        if !progress.is_running() {
            break;
        }
    }
    let report = session.finish().expect("a report").report;
    assert_eq!(text, "hello\n");
    assert_eq!(report.cause, Cause::Exited { status: 0 });
    as_ordinary_user("a_connection_made_inside_arrives_at_the_socket_that_was_handed_out");
}

/// Whatever address is asked for, of a port that is served it leads to the broker, which learns what was asked for.
#[test]
fn every_address_leads_to_the_socket_that_was_handed_out() {
    let (mut spec, host) = spec(
        r#"
        for address in 192.0.2.1 8.8.8.8 127.0.0.1 2001:db8::1 ::ffff:192.0.2.2; do
            echo $address > /dev/tcp/$address/4433 || exit 10
        done
        ( : > /dev/tcp/192.0.2.1/4434 ) 2>&- && exit 11
        python3 -c '
import errno, socket
for family, address in (socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "::1"):
    for reuses in (), (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        own = socket.socket(family)
        for option in reuses: own.setsockopt(socket.SOL_SOCKET, option, 1)
        try: own.bind((address, 4433)); own.listen(); raise SystemExit(12)
        except OSError as error: assert error.errno == errno.EADDRINUSE, error
# What getaddrinfo asks when it has an address of its own.
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); own.connect(("192.0.2.1", 53))
assert own.send(b"x") == 1
' || exit 13"#,
        Vec::new(),
    );
    spec.network = Network::Brokered;
    let socket = |protocol, port| BrokerSocket {
        protocol,
        address: (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    spec.listeners = vec![socket(Protocol::Tcp, 4433), socket(Protocol::Udp, 53)];
    let mut built = build(spec, &host);
    built.wait().expect("everything is built");
    let mut listeners = built.listeners();
    let datagrams = UdpSocket::from(listeners.pop().expect("two"));
    let listener = TcpListener::from(listeners.pop().expect("two"));
    let mut session = built.go().expect("it goes");
    let mut asked = Vec::new();
    loop {
        let mut watched = [Watched {
            fd: listener.as_fd(),
            ready: false,
        }];
        let progress = session.poll(&mut watched, None).expect("it is watched");
        if watched[0].ready {
            let (mut connection, _) = listener.accept().expect("a connection");
            let address = connection.local_addr().expect("an address").ip();
            let mut text = String::new();
            connection.read_to_string(&mut text).expect("text");
            let written: IpAddr = text.trim_end().parse().expect("an address");
            assert_eq!(address.to_canonical(), written.to_canonical());
            asked.push(text);
        }
        if !progress.is_running() {
            break;
        }
    }
    let report = session.finish().expect("a report").report;
    assert_eq!(report.cause, Cause::Exited { status: 0 }, "{asked:?}");
    assert_eq!(asked.len(), 5, "{asked:?}");
    let mut byte = [0];
    assert_eq!(datagrams.recv(&mut byte).expect("a datagram"), 1);
    as_ordinary_user("every_address_leads_to_the_socket_that_was_handed_out");
}

#[test]
fn what_fails_inside_is_told_while_it_is_built() {
    let (mut spec, host) = spec("exit 0", Vec::new());
    spec.directory = "/nowhere".into();
    let mut built = build(spec, &host);
    let error = built.wait().expect_err("it cannot be built").to_string();
    assert!(error.contains("/nowhere"), "{error}");
}

#[test]
fn a_file_that_was_swapped_since_it_was_resolved_is_not_bound() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().canonicalize().expect("a path").join("data");
    File::create(&path).expect("a file");
    let identity = plan::identity(&facts::host(), (0, 0));
    let mount_point = Op::MountPoint.at("/data");
    let (spec, host) = spec("exit 0", vec![mount_point, bind("/data", &path, &identity)]);
    std::fs::rename(&path, place.path().join("old")).expect("renamed");
    File::create(&path).expect("another file");
    let plan = plan::assemble(spec, &host).expect("a plan");
    let options = Options {
        id: &run_id(),
        ..Options::default()
    };
    let error = match Built::new(plan, &host, options) {
        Err(failed) => failed.error,
        Ok(mut built) => built.wait().expect_err("it cannot be built"),
    };
    assert!(error.to_string().contains("swapped"), "{error}");
}
