"""What each program does: a script of the shell, run in a directory of its own, and what its output then has."""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

PINNED = "pins the key or the certificate of the server that it expects: another is refused, whoever signed it"
OWN_ROOTS = "trusts roots that are compiled in or of its own store, not the system's"
CLIENT = "shows a client certificate: its key is inside, and the broker could not show it to the server"


@dataclass
class Program:
    name: str
    script: str
    expects: str = "answered"
    # What has to be there: of the cache, or of the host.
    needs: tuple = ()
    # Its destination is `tcp`, or another that is not opened: what passes is right.
    passes: bool = False
    # Why it cannot be opened.
    cannot: str = ""
    # What prints its version.
    version: str = ""
    # It is left out where time counts.
    is_slow: bool = False

    def exists(self):
        import shutil
        return all(Path(need).exists() if need.startswith("/") else shutil.which(need, path="/srv/rust/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") for need in self.needs)

    def version_of(self):
        import re
        if not self.version:
            return ""
        done = subprocess.run(["sh", "-c", self.version], capture_output=True, text=True, env={"PATH": "/srv/rust/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"})
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found.group() if found else ""


def python(code):
    return f"/srv/programs/venv/bin/python -c {shlex.quote(code)}"


def node(code):
    return f"NODE_PATH=/srv/programs/node/node_modules node -e {shlex.quote(code)}"


def programs(cache, pin):
    venv, modules = f"{cache}/venv/bin/python", f"{cache}/node/node_modules"
    bin_, debs = f"{cache}/venv/bin", f"{cache}/apt/usr"
    perl = f"perl -I{debs}/share/perl5 -I$(echo {debs}/lib/x86_64-linux-gnu/perl5/5.*)"
    perl_needs = ("perl", f"{debs}/share/perl5/LWP.pm")
    deno, bun = f"{modules}/@deno/linux-x64-glibc/deno", f"{modules}/bun/bin/bun.exe"
    package = lambda name: f"{bin_}/python -c \"import importlib.metadata as m; print(m.version('{name}'))\""
    npm_version = lambda name: f"grep -m1 '\"version\"' {modules}/{name}/package.json"
    aws = "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true"
    ssh = "cp /srv/state/id key && chmod 600 key && ssh -F none -i key -p 2222 -o UserKnownHostsFile=/srv/state/known -o IdentitiesOnly=yes"
    npm = "--registry https://npm.example/npm/"
    return [
        Program("curl, HTTP/1.1", "curl -sS --http1.1 -w '%{http_version}' https://web.example/echo", version="curl -V", needs=("curl",)),
        Program("curl, HTTP/2", "curl -sS --http2 -w 'in %{http_version} ' https://web.example/echo | grep 'in 2' && echo answered", needs=("curl",)),
        Program("curl, an upload of 1 MiB", "head -c 1048576 /dev/zero > file && curl -sS -T file https://web.example/echo", '"length": 1048576', needs=("curl",)),
        Program("curl, a redirect", "curl -sSL https://web.example/redirect", needs=("curl",)),
        Program("curl, server-sent events", "curl -sSN https://web.example/sse", "answered 2", needs=("curl",)),
        Program("wget", "wget -nv -O - https://web.example/echo", version="wget -V", needs=("wget",)),
        Program("aria2", f"LD_LIBRARY_PATH={debs}/lib/x86_64-linux-gnu {debs}/bin/aria2c -q -o got https://web.example/echo && cat got", needs=(f"{debs}/bin/aria2c",),
                version=f"LD_LIBRARY_PATH={debs}/lib/x86_64-linux-gnu {debs}/bin/aria2c -v"),
        Program("git clone", "git clone -q https://git.example/git/hello.git && cat hello/hello", "hello", version="git --version", needs=("git",)),
        Program("git push", "git clone -q https://git.example/git/hello.git && cd hello && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git push origin HEAD:refs/heads/b$(od -An -N8 -tx8 /dev/urandom | tr -d ' ') && echo answered", needs=("git",)),
        Program("git over ssh", f"{ssh.split(' && ssh')[0]}; GIT_SSH_COMMAND='ssh {ssh.split('&& ssh ')[1]}' git -c safe.directory='*' clone -q ssh://root@git.example:2222/srv/www/git/hello.git && cat hello/hello", "hello", needs=("git", "ssh"), passes=True),
        Program("ssh", f"{ssh} root@git.example echo answered", needs=("ssh",), passes=True, version="ssh -V"),
        Program("apt-get update, download", "mkdir -p l/partial c/archives/partial && touch status && echo 'deb [trusted=yes] https://apt.example/apt ./' > list && "
                "O=\"-o Dir::Etc::SourceList=$PWD/list -o Dir::Etc::SourceParts=/dev/null -o Dir::State=$PWD/l -o Dir::State::Lists=$PWD/l -o Dir::State::Status=$PWD/status -o Dir::Cache=$PWD/c -o Dir::Cache::Archives=$PWD/c/archives -o APT::Sandbox::User= -o Dir::Log=$PWD\"; "
                "apt-get -q $O update && apt-get -q $O download hello-aegis && ls && echo answered", needs=("apt-get",), version="apt-get -v"),
        Program("pip", f"{bin_}/pip install -q --index-url https://pypi.example/pypi/simple --target t hello-aegis && cat t/hello_aegis.py", needs=(venv,), version=package("pip")),
        Program("pip, of the system", "/usr/bin/python3 -m pip download -q --disable-pip-version-check --index-url https://pypi.example/pypi/simple hello-aegis && ls && echo answered", needs=("/usr/bin/pip3",), version="/usr/bin/pip3 -V"),
        Program("uv", f"{bin_}/uv pip install -q --no-config --python /usr/bin/python3 --index-url https://pypi.example/pypi/simple --target t hello-aegis && cat t/hello_aegis.py", needs=(f"{bin_}/uv",), version=package("uv")),
        Program("npm", f"echo '{{}}' > package.json && npm install -s --no-audit --no-fund {npm} hello-aegis && cat node_modules/hello-aegis/index.js", needs=("npm",), version="npm --version"),
        Program("pnpm", f"echo '{{}}' > package.json && node {modules}/pnpm/bin/pnpm.*js install -s {npm} hello-aegis 2>&1 && cat node_modules/hello-aegis/index.js || {{ cd $HOME; node {modules}/pnpm/bin/pnpm.*js add {npm} hello-aegis; }}", needs=(f"{modules}/pnpm",), version=npm_version("pnpm")),
        Program("yarn", f"echo '{{\"name\":\"x\"}}' > package.json && node {modules}/yarn/bin/yarn.js add -s --cache-folder c {npm} hello-aegis && cat node_modules/hello-aegis/index.js", needs=(f"{modules}/yarn",), version=npm_version("yarn")),
        Program("cargo, sparse registry", "PATH=/srv/rust/bin:$PATH; mkdir -p p/src p/.cargo && cd p && touch src/lib.rs && export CARGO_HOME=$PWD/home && printf '[package]\\nname = \"p\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nhello-aegis = { version = \"1\", registry = \"own\" }\\n' > Cargo.toml && "
                "printf '[registries.own]\\nindex = \"sparse+https://crates.example/crates/index/\"\\n' > .cargo/config.toml && cargo fetch && ls home/registry/src/*/hello-aegis-1.0.0 && echo answered", needs=("cargo",), version="cargo -V", is_slow=True),
        Program("cargo, from git", "PATH=/srv/rust/bin:$PATH; mkdir -p p/src && cd p && touch src/lib.rs && export CARGO_HOME=$PWD/home && printf '[package]\\nname = \"p\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nhello-git = { git = \"https://git.example/git/hello.git\" }\\n' > Cargo.toml && cargo fetch && echo answered", needs=("cargo",), is_slow=True),
        Program("go, net/http", f"{cache}/goclient https://web.example/echo", "HTTP/2.0 200", needs=(f"{cache}/goclient",), version="go version"),
        Program("go mod download", "export GOPATH=$PWD/gp GOCACHE=$PWD/gc GOPROXY=https://goproxy.example/goproxy GONOSUMDB='*' GONOSUMCHECK=1 GOFLAGS=-modcacherw; mkdir m && cd m && printf 'module m\\n\\ngo 1.19\\n' > go.mod && go mod download -json example.com/hello@v1.0.0 && echo answered", needs=("go",)),
        Program("Java, HttpURLConnection", f"java -cp {cache}/java Client old https://web.example/echo", needs=(f"{cache}/java/Client.class",), version="java -version"),
        Program("Java, java.net.http", f"java -cp {cache}/java Client new https://web.example/echo", "HTTP_2 200", needs=(f"{cache}/java/Client.class",)),
        Program("Node.js, fetch", node("fetch('https://web.example/echo').then(r => r.text()).then(console.log)"), needs=("node",), version="node --version"),
        Program("Node.js, https", node("require('https').get('https://python.example:8443/echo', r => r.on('data', d => console.log(String(d))))"), needs=("node",)),
        Program("Node.js, http2", node("const h = require('http2').connect('https://node.example:8444'); const r = h.request({':path': '/'}); r.on('data', d => console.log(String(d))); r.on('end', () => h.close())"), "answered 2.0 GET", needs=("node",)),
        Program("Node.js, axios", node("require('axios').post('https://web.example/echo', {a: 1}).then(r => console.log(JSON.stringify(r.data)))"), needs=("node", f"{modules}/axios"), version=npm_version("axios")),
        Program("Node.js, WebSocket (ws)", node("const s = new (require('ws'))('wss://web.example/socket'); s.on('open', () => s.send('one')); s.on('message', m => { console.log(String(m)); s.close() })"), "answered one", needs=("node", f"{modules}/ws"), version=npm_version("ws")),
        Program("Node.js, gRPC (grpc-js)", node("const g = require('@grpc/grpc-js'); const same = b => b; const roots = require('fs').readFileSync(process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH); "
                "const C = g.makeGenericClientConstructor({One: {path: '/programs.Echo/One', requestStream: false, responseStream: false, requestSerialize: same, responseDeserialize: same}}, 'Echo'); "
                "new C('grpc.example:443', g.credentials.createSsl()).One(Buffer.from('one'), (e, r) => { console.log(e ? String(e) : String(r)); process.exit(e ? 1 : 0) })"), "answered one", needs=("node", f"{modules}/@grpc/grpc-js"), version=npm_version("@grpc/grpc-js")),
        Program("Deno, fetch", f"DENO_DIR=$PWD/d {deno} eval -q \"console.log(await (await fetch('https://web.example/echo')).text())\"", needs=(deno,), version=f"{deno} --version"),
        Program("Bun, fetch", f"{bun} -e \"console.log(await (await fetch('https://web.example/echo')).text())\"", needs=(bun,), version=f"{bun} --version"),
        Program("Python, urllib", "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://python.example:8443/echo\").read())'", needs=("/usr/bin/python3",), version="/usr/bin/python3 -V"),
        Program("Python, requests", python("import requests; print(requests.get('https://web.example/echo').text)"), needs=(venv,), version=package("requests")),
        Program("Python, httpx in HTTP/2", python("import httpx; r = httpx.Client(http2=True).get('https://web.example/echo'); print(r.http_version, r.text)"), "HTTP/2", needs=(venv,), version=package("httpx")),
        Program("Python, httpx, server-sent events", python("import httpx\nwith httpx.stream('GET', 'https://web.example/sse') as r:\n  print(list(r.iter_lines()))"), "answered 2", needs=(venv,)),
        Program("Python, aiohttp", python("import asyncio, aiohttp\nasync def main():\n  async with aiohttp.ClientSession() as s:\n    async with s.get('https://web.example/echo') as r: print(await r.text())\nasyncio.run(main())"), needs=(venv,), version=package("aiohttp")),
        Program("Python, websockets", python("from websockets.sync.client import connect\nwith connect('wss://web.example/socket') as s:\n  s.send('one'); print(s.recv())"), "answered one", needs=(venv,), version=package("websockets")),
        Program("Python, gRPC (grpcio)", python("import grpc\nc = grpc.secure_channel('grpc.example:443', grpc.ssl_channel_credentials())\nprint(c.unary_unary('/programs.Echo/One')(b'one', timeout=20), list(c.stream_stream('/programs.Echo/All')(iter([b'a', b'b']), timeout=20)))"), "b'answered one' [b'answered a', b'answered b']", needs=(venv,), version=package("grpcio")),
        Program("Python, boto3", f"{aws} " + python("import boto3; print(boto3.client('s3', endpoint_url='https://s3.example').list_buckets()['Buckets'])"), needs=(venv,), version=package("boto3")),
        Program("Python, anthropic", python("import anthropic; print(anthropic.Anthropic(api_key='k', base_url='https://web.example').messages.create(model='m', max_tokens=1, messages=[{'role': 'user', 'content': 'x'}]).content[0].text)"), needs=(venv,), version=package("anthropic")),
        Program("aws", f"{aws} {bin_}/aws --endpoint-url https://s3.example s3 ls", needs=(f"{bin_}/aws",), version=package("awscli")),
        Program("HTTPie", f"{bin_}/http --ignore-stdin https://web.example/echo", needs=(f"{bin_}/http",), version=package("httpie")),
        Program("Ruby, net/http", "ruby -rnet/http -e 'puts Net::HTTP.get(URI(\"https://web.example/echo\"))'", needs=("ruby",), version="ruby -v"),
        Program("Perl, HTTP::Tiny", f"{perl} -MHTTP::Tiny -e 'my $r = HTTP::Tiny->new(verify_SSL => 1)->get(\"https://web.example/echo\"); print $r->{{content}}; exit !$r->{{success}}'", needs=perl_needs, version="perl -e 'print $^V'"),
        Program("Perl, LWP", f"{perl} -MLWP::UserAgent -e 'my $r = LWP::UserAgent->new->get(\"https://web.example/echo\"); print $r->decoded_content; exit !$r->is_success'", needs=perl_needs, version=f"{perl} -MLWP -e 'print LWP->VERSION'"),
        Program("openssl s_client", "printf 'GET /echo HTTP/1.1\\r\\nHost: web.example\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect web.example:443 -servername web.example -ign_eof", needs=("openssl",), version="openssl version"),
        Program("gh", f"GH_HOST=gh.example GH_ENTERPRISE_TOKEN=x GH_CONFIG_DIR=$PWD {debs}/bin/gh api user", needs=(f"{debs}/bin/gh",), version=f"{debs}/bin/gh --version"),
        Program("rclone", f"{debs}/bin/rclone --config $PWD/c cat :http:hello-aegis_1.0.0_all.deb --http-url https://apt.example/apt/ | grep -c . && echo answered", needs=(f"{debs}/bin/rclone",), version=f"{debs}/bin/rclone version"),
        Program("psql, TLS verified", "psql 'host=db.example user=postgres dbname=postgres sslmode=verify-full sslrootcert=/srv/state/ca.pem' -c \"select 'answered'\"", needs=("psql",), passes=True, version="psql -V"),
        Program("redis-cli", "redis-cli -h db.example set a answered && redis-cli -h db.example get a", needs=("redis-cli",), passes=True, version="redis-cli -v"),
        Program("Chromium", f"chromium --headless --no-sandbox --disable-gpu --user-data-dir=$PWD/c --ignore-certificate-errors-spki-list={pin} --dump-dom https://web.example/echo", needs=("chromium",), cannot=OWN_ROOTS, version="chromium --version", is_slow=True),
        Program("curl, a client certificate", "curl -sS --cert /srv/state/client.pem --key /srv/state/client.key https://mtls.example/", "answered CN", needs=("curl",), cannot=CLIENT),
        Program("curl, a pinned key", f"curl -sS --pinnedpubkey sha256//{pin} https://web.example/echo", needs=("curl",), cannot=PINNED),
        Program("Python, requests, one authority alone", python("import requests; print(requests.get('https://web.example/echo', verify='/srv/state/ca.pem').text)"), needs=(venv,), cannot="is told to trust one authority alone, which is not the run's"),
    ]


def refusals(cache):
    """Programs whose host nobody names."""
    bin_ = f"{cache}/venv/bin"
    return [
        ("npm install", "echo '{}' > package.json; npm install --registry https://other.example/npm/ hello-aegis"),
        ("pip install", f"{bin_}/pip install --index-url https://other.example/pypi/simple --target t hello-aegis"),
        ("uv pip install", f"{bin_}/uv pip install --no-config --python /usr/bin/python3 --index-url https://other.example/pypi/simple --target t hello-aegis"),
        ("cargo fetch", "PATH=/srv/rust/bin:$PATH; mkdir -p p/src p/.cargo && cd p && touch src/lib.rs && export CARGO_HOME=$PWD/home && printf '[package]\\nname = \"p\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nhello-aegis = { version = \"1\", registry = \"own\" }\\n' > Cargo.toml && "
         "printf '[registries.own]\\nindex = \"sparse+https://other.example/crates/index/\"\\n' > .cargo/config.toml && cargo fetch"),
        ("git clone", "git clone https://other.example/git/hello.git"),
        ("curl", "curl -sS https://other.example/"),
        ("wget", "wget -nv https://other.example/"),
        ("go mod download", "export GOPATH=$PWD/gp GOCACHE=$PWD/gc GOPROXY=https://other.example/goproxy GONOSUMDB='*'; mkdir m && cd m && printf 'module m\\n' > go.mod && go mod download example.com/hello@v1.0.0"),
        ("aws s3 ls", f"AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 {bin_}/aws --endpoint-url https://other.example s3 ls"),
        ("boto3", "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1 " + python("import boto3; boto3.client('s3', endpoint_url='https://other.example').list_buckets()")),
        ("curl of an undeclared port", "curl -sS --connect-timeout 60 https://web.example:9443/"),
        ("ssh", "ssh -F none -o StrictHostKeyChecking=no root@other.example true"),
        ("psql", "psql 'host=other.example user=postgres' -c 'select 1'"),
    ]
