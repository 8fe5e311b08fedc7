//! `sockets: private`, and pairs of datagram sockets.

use std::os::unix::net::UnixListener;
use std::process::Output;

use aegis_tests::outcome::Ran;
use aegis_tests::{USERS, Workspace, text};

const PYTHON: &str =
    "aegis: 1\nextends: [python]\ncapabilities: {files.write: [$WORK], sockets: private}\n";

fn python(workspace: &Workspace, profile: &str, script: &str) -> Output {
    workspace.run(profile, &["python3", "-c", script])
}

fn says(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, expected, "{}", text(output));
    assert!(output.status.success(), "{}", text(output));
}

#[test]
fn a_manager_of_python_shares_objects_between_processes() {
    let script = "
import multiprocessing as m
def work(shared, n):
    shared.append(n * n)
with m.Manager() as manager:
    shared = manager.list()
    with m.Pool(3) as pool:
        pool.starmap(work, [(shared, n) for n in range(20)])
    print(sorted(shared)[-1], len(shared))
";
    for user in USERS {
        let workspace = Workspace::new(user);
        says(&python(&workspace, PYTHON, script), "361 20\n");
        let without = PYTHON.replace(", sockets: private", "");
        let output = python(&workspace, &without, script);
        assert!(!output.status.success(), "{user:?}: {}", text(&output));
    }
}

#[test]
fn tmux_finds_its_server() {
    let script = "tmux -f /dev/null new-session -d -s build 'exec cat'; tmux list-sessions -F '#S'; tmux kill-server";
    let profile = "aegis: 1\nextends: [shell]\ncapabilities: {shell.exec: [tmux], devices: [pty], sockets: private}\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        says(&workspace.run(profile, &["sh", "-c", script]), "build\n");
    }
}

/// Who connects is the same user; what waits, waits, and nothing else does meanwhile.
#[test]
fn a_private_socket_is_like_any_other() {
    let script = "
import os, socket, struct, threading
os.chdir('/tmp')
server = socket.socket(socket.AF_UNIX)
server.bind('here')
server.listen(0)
for name in ['here', '/tmp/here', '/var/tmp/here', './here']:
    client = socket.socket(socket.AF_UNIX)
    client.connect(name)
    peer = server.accept()[0]
    pid, uid, gid = struct.unpack('3i', peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    client.sendall(b'x')
    print(name, peer.recv(1), uid == os.getuid(), gid == os.getgid())
first = socket.socket(socket.AF_UNIX); first.connect('here')
full = socket.socket(socket.AF_UNIX); full.setblocking(False)
try: full.connect('here')
except BlockingIOError as e: print('full')
waiting = socket.socket(socket.AF_UNIX)
thread = threading.Thread(target=waiting.connect, args=['here']); thread.start()
# Nobody has to wait for the one that waits.
other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); other.bind('\\0own'); other.listen()
socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('\\0own'); print('abstract')
tcp = socket.create_server(('127.0.0.1', 0)); socket.create_connection(tcp.getsockname()); print('tcp')
server.accept(); thread.join(); server.accept(); print('waited')
for wrong in ['/tmp/nowhere', '/tmp', '/run/nscd/socket', '\\0nobody', '']:
    try: socket.socket(socket.AF_UNIX).connect(wrong)
    except OSError as e: print(type(e).__name__)
try: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
except OSError as e: print(os.strerror(e.errno))
";
    let expected = "\
        here b'x' True True\n/tmp/here b'x' True True\n/var/tmp/here b'x' True True\n./here b'x' True True\n\
        full\nabstract\ntcp\nwaited\n\
        FileNotFoundError\nConnectionRefusedError\nFileNotFoundError\nConnectionRefusedError\nOSError\n\
        Address family not supported by protocol\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        says(&python(&workspace, PYTHON, script), expected);
    }
}

/// Abstract names would be the host's, and ports are those that are granted.
#[test]
fn private_sockets_with_the_network_of_the_host_have_paths_alone() {
    let script = "
import errno, socket
server = socket.socket(socket.AF_UNIX); server.bind('/tmp/here'); server.listen()
socket.socket(socket.AF_UNIX).connect('/tmp/here'); print('a path')
def tried(what, *words):
    try: what(*words); print('done')
    except OSError as e: print(errno.errorcode[e.errno])
tried(socket.socket(socket.AF_UNIX).bind, '\\0aegis-private')
tried(socket.socket(socket.AF_UNIX).connect, '\\0aegis-private')
tried(socket.socket(socket.AF_UNIX).listen)
tcp = socket.socket(); tried(tcp.bind, ('127.0.0.1', 0)); tried(socket.socket().listen)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); tried(udp.bind, ('127.0.0.1', 0))
tried(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect, udp.getsockname())
tried(socket.socket().connect, ('127.0.0.1', int(PORT)))
";
    let service = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = service.local_addr().expect("an address").port();
    let script = script.replace("int(PORT)", &port.to_string());
    let profile = PYTHON.replace("sockets:", "net.outbound: host, sockets:");
    for user in USERS {
        let workspace = Workspace::new(user);
        let output = python(&workspace, &profile, &script);
        says(
            &output,
            "a path\nEACCES\nEACCES\nEPERM\nEACCES\nEPERM\ndone\ndone\ndone\n",
        );
    }
}

#[test]
fn what_leads_out_is_refused_and_told_by_name() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let path = workspace.work().join("service");
        let _listener = UnixListener::bind(&path).expect("a socket");
        workspace.own(&path);
        let script = "
import socket
try: socket.socket(socket.AF_UNIX).connect('service')
except PermissionError: print('refused')
";
        let profile = workspace.profile(PYTHON);
        let ran = Ran::new(&workspace, &profile, &["python3", "-c", script]);
        says(&ran.output, "refused\n");
        let denials = ran.report["denials"].as_array().expect("denials");
        let denial = format!("connecting to the socket {}", path.display());
        let told = denials.iter().find(|told| told["what"] == *denial);
        assert_eq!(
            told.expect("it is told")["evidence"],
            "kernel",
            "{denials:?}"
        );
        // What holds it is this key alone.
        let any = PYTHON.replace("sockets: private", "") + "syscalls: {allow: [socket]}\n";
        let output = python(&workspace, &any.replace(", }", "}"), script);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "",
            "{}",
            text(&output)
        );
    }
}

/// Messages keep their boundaries and their order, and go to the other end, whatever address is given.
#[test]
fn a_pair_of_datagram_sockets_is_one_that_can_be_sent_nowhere_else() {
    let script = "
import socket, os
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
print(os.get_inheritable(one.fileno()), one.getblocking())
one.send(b'first'); one.send(b''); one.sendto(b'third', '/tmp/nowhere')
print([other.recv(100) for _ in range(3)])
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
try: other.recv(1)
except BlockingIOError: print('nothing yet')
try: socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
except OSError as e: print(e.strerror)
try:
  # They are the memory of Aegis itself, which is no limit's of the run.
  for made in range(10000): [end.close() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]
except OSError as e: print(made + 2, e.strerror)
";
    let expected = "False True\n[b'first', b'', b'third']\nnothing yet\nAddress family not supported by protocol\n4096 Too many open files in system\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        says(
            &python(&workspace, "aegis: 1\nextends: [python]\n", script),
            expected,
        );
        for (profile, words) in [
            (
                "perl",
                &[
                    "perl",
                    "-MSocket",
                    "-e",
                    "socketpair(A, B, AF_UNIX, SOCK_DGRAM, 0) or die $!; syswrite A, 'x'; sysread B, $x, 9; print $x",
                ][..],
            ),
            (
                "ruby",
                &[
                    "ruby",
                    "-rsocket",
                    "-e",
                    "a, b = UNIXSocket.pair(:DGRAM); a.send('x', 0); print b.recv(9)",
                ],
            ),
        ] {
            let profile = format!("aegis: 1\nextends: [{profile}]\n");
            says(&workspace.run(&profile, words), "x");
        }
    }
}

/// Only so many calls may wait at one time, and those whose callers were killed wait no more.
#[test]
fn callers_that_were_killed_leave_room_for_others() {
    let script = "
import os, signal, socket
listening = socket.socket(socket.AF_UNIX)
listening.bind('/tmp/full')
listening.listen(0)
children = []
for _ in range(300):
    child = os.fork()
    if child == 0:
        try: socket.socket(socket.AF_UNIX).connect('/tmp/full')
        except BlockingIOError: os._exit(0)
        signal.pause()
    children.append(child)
# All that there is room for wait, once this many did not find any.
for _ in range(30): children.remove(os.wait()[0])
for child in children: os.kill(child, signal.SIGKILL)
for _ in children: os.wait()
socket.socket(socket.AF_UNIX).bind('/tmp/other')
print('bound')
";
    for user in USERS {
        let workspace = Workspace::new(user);
        says(&python(&workspace, PYTHON, script), "bound\n");
    }
}
