"""Registries in a directory, each with one package, as a web server shows them: PyPI, npm, crates, Go modules, apt."""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path


def publish(www):
    for make in (pypi, npm, crates, goproxy, apt):
        make(www)


def write(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())


def tar(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def pypi(www):
    info = "hello_aegis-1.0.0.dist-info"
    files = {
        "hello_aegis.py": "print('answered')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: hello-aegis\nVersion: 1.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = zipped(files)
    write(www / "pypi/files/hello_aegis-1.0.0-py3-none-any.whl", wheel)
    digest = hashlib.sha256(wheel).hexdigest()
    link = f'<a href="/pypi/files/hello_aegis-1.0.0-py3-none-any.whl#sha256={digest}">hello_aegis-1.0.0-py3-none-any.whl</a>'
    write(www / "pypi/simple/hello-aegis/index.html", f"<!DOCTYPE html><html><body>{link}</body></html>")


def npm(www):
    manifest = {"name": "hello-aegis", "version": "1.0.0", "main": "index.js", "license": "MIT"}
    package = tar({"package/package.json": json.dumps(manifest), "package/index.js": "console.log('answered')\n"})
    write(www / "npm/hello-aegis/-/hello-aegis-1.0.0.tgz", package)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    dist = {"tarball": "https://npm.example/npm/hello-aegis/-/hello-aegis-1.0.0.tgz", "integrity": integrity, "shasum": hashlib.sha1(package).hexdigest()}
    about = {"name": "hello-aegis", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**manifest, "dist": dist}}, "time": {"1.0.0": "2024-01-01T00:00:00.000Z"}}
    write(www / "npm/hello-aegis/index.json", json.dumps(about))


def crates(www):
    crate = tar({"hello-aegis-1.0.0/Cargo.toml": '[package]\nname = "hello-aegis"\nversion = "1.0.0"\nedition = "2021"\n', "hello-aegis-1.0.0/src/lib.rs": ""})
    write(www / "crates/dl/hello-aegis/1.0.0/download", crate)
    write(www / "crates/index/config.json", json.dumps({"dl": "https://crates.example/crates/dl"}))
    about = {"name": "hello-aegis", "vers": "1.0.0", "deps": [], "cksum": hashlib.sha256(crate).hexdigest(), "features": {}, "yanked": False}
    write(www / "crates/index/he/ll/hello-aegis", json.dumps(about) + "\n")


def goproxy(www):
    at = www / "goproxy/example.com/hello/@v"
    module = "module example.com/hello\n\ngo 1.19\n"
    write(at / "list", "v1.0.0\n")
    write(at / "v1.0.0.info", json.dumps({"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"}))
    write(at / "v1.0.0.mod", module)
    write(at / "v1.0.0.zip", zipped({"example.com/hello@v1.0.0/go.mod": module, "example.com/hello@v1.0.0/hello.go": "package hello\n"}))


def apt(www):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        control = "Package: hello-aegis\nVersion: 1.0.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: answered\n"
        write(root / "DEBIAN/control", control)
        (root / "DEBIAN").chmod(0o755)
        package = Path(directory) / "hello-aegis_1.0.0_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, package], check=True, capture_output=True)
        bytes_ = package.read_bytes()
    write(www / "apt/hello-aegis_1.0.0_all.deb", bytes_)
    about = f"{control}Filename: ./hello-aegis_1.0.0_all.deb\nSize: {len(bytes_)}\nSHA256: {hashlib.sha256(bytes_).hexdigest()}\n\n".encode()
    release = "Date: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n"
    for name, contents in (("Packages", about), ("Packages.gz", gzip.compress(about))):
        write(www / "apt" / name, contents)
        release += f" {hashlib.sha256(contents).hexdigest()} {len(contents)} {name}\n"
    write(www / "apt/Release", release)
