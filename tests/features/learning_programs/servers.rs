//! Servers, each with a client of its own in the sandbox; and clients of a server outside.

use std::process::{Child, Stdio};

use super::*;

#[test]
fn servers_answer_under_what_was_learnt() {
    are_learnt(&[
        Program {
            name: "redis",
            prepare: "printf 'set a 1\\nget a\\n' > commands",
            change: "{ seq -f 'rpush list %.0f' 2000; printf 'lrange list 0 3\\nsave\\nconfig get dir\\n'; } > commands",
            command: &[
                "sh",
                "-ec",
                "redis-server --port 6390 --bind 127.0.0.1 > /tmp/log & until redis-cli -p 6390 ping 2> /dev/null; do :; done
                redis-cli -p 6390 < commands > answers; redis-cli -p 6390 shutdown; wait",
            ],
            check: "grep -q 1 answers; test -s dump.rdb",
        },
        Program {
            name: "nginx",
            prepare: "mkdir site; echo one > site/page; echo page > wanted; cat > nginx.conf <<'END'
daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 2;
events {}
http {
  access_log access.log; client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 127.0.0.1:8080; root site; autoindex on; }
}
END
                touch access.log",
            change: "mkdir site/more; seq 100000 > site/more/large; printf 'more/large\\nmore/\\nnone\\n' > wanted",
            command: &[
                "sh",
                "-ec",
                "nginx -p . -c nginx.conf -e stderr & until curl -so /dev/null http://127.0.0.1:8080/; do :; done
                while read -r page; do curl -s http://127.0.0.1:8080/$page; done < wanted > answers; nginx -p . -c nginx.conf -e stderr -s quit; wait",
            ],
            check: "grep -q 100000 answers; grep -q '404 Not Found' answers; grep -q more/large access.log",
        },
        Program {
            name: "tmux",
            prepare: "echo a > in",
            change: "seq 1000 > in",
            command: &[
                "sh",
                "-ec",
                "tmux -f /dev/null new-session -d -s keep cat; tmux new-session -d -s work 'tr 0-9 a-j < in > out; tmux wait-for -S done'
                tmux wait-for done; tmux list-sessions -F '#{session_name}'; tmux kill-server",
            ],
            check: "grep -q baaa out",
        },
    ]);
}

/// It does not run as root.
#[test]
fn postgres_answers_under_what_was_learnt() {
    // Of the newest version that is installed.
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("it is installed");
    let newest = versions.map(|found| found.expect("an entry").path()).max();
    let bin = newest.expect("a version").join("bin");
    let script = format!(
        "bin={}; $bin/initdb -D /tmp/data -U me --no-sync --locale=C > /dev/null
        $bin/pg_ctl -D /tmp/data -w -s -l /tmp/log -o '-k /tmp -h \"\"' start
        psql -h /tmp -U me -qtA postgres < queries > answers; $bin/pg_ctl -D /tmp/data -s -m fast stop",
        bin.display()
    );
    let command = ["sh", "-ec", &*script.leak()];
    let postgres = Program {
        name: "postgres",
        prepare: "echo 'create table t(a int); insert into t values (1); select * from t;' > queries",
        change: "echo \"create table t(a int primary key, b text, c jsonb); insert into t select i, i, json_build_object('n', i) from generate_series(1, 5000) i;
            create index on t(b); create extension if not exists plpgsql; analyze; select count(*) from t where b like '1%'; copy t to '/tmp/t'; vacuum;
            do 'begin perform 1; end';\" > queries",
        command: Box::leak(Box::new(command)),
        check: "grep -qx 1111 answers",
    };
    for learner in [Learner::Service, Learner::Listener] {
        learning(learner, |workspace| {
            is_learnt(workspace, learner, &postgres, &[]);
        });
    }
}

/// A program outside of the sandbox, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(workspace: &Workspace, script: &str) -> Server {
    let mut command = workspace.command("sh");
    command.args(["-euc", script]).stdout(Stdio::null());
    Server(command.spawn().expect("sh starts"))
}

/// The policy of the tests permits the network; the profile then has it, too.
const NETWORK: [&str; 2] = ["--allow-net", "host"];

#[test]
fn curl_fetches_under_what_was_learnt() {
    let curl = Program {
        name: "curl",
        prepare: "mkdir site; echo one > site/page; echo 'url = http://127.0.0.1:8000/page' > wanted; echo 'output = page' >> wanted
            until curl -so /dev/null http://127.0.0.1:8000/; do :; done",
        change: "mkdir -p site/more; seq 100000 > site/more/large; cp /usr/share/common-licenses/GPL-3 site/text
            { echo compressed; echo 'header = \"X-Other: 1\"'; for p in more more/large text; do echo \"url = http://localhost:8000/$p\"; echo \"output = $(basename $p)\"; done; } > wanted",
        command: &["curl", "-sSfL", "-K", "wanted"],
        check: "grep -q large more; cmp site/more/large large",
    };
    for learner in LEARNERS {
        learning(learner, |workspace| {
            let site = workspace.work().join("site");
            let _server = server(
                workspace,
                &format!(
                    "exec python3 -m http.server --bind 127.0.0.1 --directory {} 8000 2> /dev/null",
                    site.display()
                ),
            );
            is_learnt(workspace, learner, &curl, &NETWORK);
        });
    }
}

/// `sshd` of the host, which root starts.
const SSHD: &str = "
    mkdir -p /run/sshd; cd ../outside
    ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key
    cp key ../work/identity; printf '[127.0.0.1]:2222 %s\\n' \"$(cut -d' ' -f1,2 host.pub)\" > ../work/known
    printf 'Host there\\nHostName 127.0.0.1\\nPort 2222\\nUser root\\nIdentityFile identity\\nIdentitiesOnly yes\\nUserKnownHostsFile known\\nGlobalKnownHostsFile /dev/null\\n' > ../work/config
    chmod 600 ../work/identity; chown --reference=../work ../work/*
    exec /usr/sbin/sshd -D -e -f /dev/null -p 2222 -o ListenAddress=127.0.0.1 -h \"$PWD/host\" -o AuthorizedKeysFile=\"$PWD/key.pub\" -o StrictModes=no -o UsePAM=no -o PidFile=none -o Subsystem='sftp internal-sftp'";

#[test]
fn ssh_logs_in_under_what_was_learnt() {
    let ssh = Program {
        name: "ssh",
        prepare: "until bash -c 'exec 3<>/dev/tcp/127.0.0.1/2222' 2> /dev/null; do :; done; echo 'echo one' > script",
        change: "echo 'seq 100000; echo error >&2; exit 0' > script",
        command: &["sh", "-ec", "ssh -F config there sh < script > answer"],
        check: "grep -qx 100000 answer",
    };
    for learner in LEARNERS {
        learning(learner, |workspace| {
            workspace.outside();
            let mut sshd = Command::new("sh");
            sshd.args(["-euc", SSHD]).current_dir(workspace.work());
            let _server = Server(sshd.stderr(Stdio::null()).spawn().expect("sh starts"));
            is_learnt(workspace, learner, &ssh, &NETWORK);
        });
    }
}
