"""Addresses that cells ask for, and the digests of files that change while a cell runs."""

import http.server
import threading
from pathlib import Path

import pytest

from mlops_nb.hashing import FileHasher, quick_hex

# Cells leave files and connections open, as users do.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

TEXT = "from pathlib import Path\n_ = Path('a.txt').write_text('hello')"


def seen(run):
    return {f"{use.mode} {use.path}" for use in run.files}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def site(tmp_path_factory):
    """A real server on this machine; its address."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "a.csv").write_text("a\n1\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Quiet(*args, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("import urllib.request\nurllib.request.urlopen('http://{site}/a.csv?token=hush').read()", "read"),
        ("import pandas as pd\npd.read_csv('http://{site}/a.csv?token=hush#x')", "read"),
        ("import requests\nassert requests.get('http://me:hush@{site}/a.csv', params={{'token': 'hush'}}).ok", "read"),
        ("import requests\nwith requests.Session() as s: assert s.put('http://{site}/a.csv', data=b'hush').ok", "write"),
        ("import httpx\nassert httpx.get('http://me:hush@{site}/a.csv?token=hush').is_success", "read"),
        ("import httpx\nasync with httpx.AsyncClient() as c: r = await c.get('http://{site}/a.csv?token=hush')", "read"),
    ],
    ids=["urllib", "pandas", "requests", "requests put", "httpx", "httpx async"],
)
def test_address(touch, site, source, mode):
    run = touch(source.format(site=site))
    assert [(use.path, use.mode, use.digest, use.size) for use in run.files if "://" in use.path] == [(f"http://{site}/a.csv", mode, "", -1)]
    assert "hush" not in str(run.files)


def test_remote_file_system(touch):
    run = touch(
        "import fsspec\nfrom fsspec.implementations.memory import MemoryFileSystem\nclass Bucket(MemoryFileSystem): protocol = ('gs', 'gcs')\n"
        "fsspec.register_implementation('gs', Bucket, clobber=True)",
        "with fsspec.open('gs://bucket/a.csv', 'w') as f: _ = f.write('a')\nwith fsspec.open('gs://bucket/a.csv') as f: _ = f.read()",
    )
    assert seen(run) == {"read gs://bucket/a.csv", "write gs://bucket/a.csv"}


def test_address_in_a_command(touch, site):
    assert seen(touch(f"!true http://me:hush@{site}/a.csv?x=1 > out.txt")) == {f"read http://{site}/a.csv", "write out.txt"}


# --- digests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "t = Path('a.txt').read_text(); _ = Path('a.txt').write_text('other')",
        "open('a.txt', 'a').write('more')",
        "t = Path('a.txt').read_text(); _ = Path('b.txt').write_text(t + 'x'); _ = Path('b.txt').replace('a.txt')",
        "!echo more >> a.txt",
        "!sed -i s/hello/other/ a.txt",
    ],
)
def test_a_read_has_the_digest_of_what_was_read(touch, change):
    uses = {(use.path, use.mode): use for use in touch(TEXT, change).files}
    read, write = uses["a.txt", "read"], uses["a.txt", "write"]
    assert (read.digest, read.size) == (quick_hex(b"hello"), 5)
    assert write.digest == quick_hex(Path("a.txt").read_bytes()) != read.digest


def test_a_moved_file_keeps_its_digest_whatever_its_size(touch, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x" * 1_000_000)
    uses = {use.mode: use for use in touch("import os\nos.rename('a.bin', 'b.bin')").files}
    assert uses["read"].digest == uses["write"].digest == FileHasher().digest(tmp_path / "b.bin")
    assert uses["read"].size == uses["write"].size == 1_000_000


def test_a_removed_file_is_written_with_no_size(touch):
    (use,) = touch(TEXT, "Path('a.txt').unlink()").files
    assert (use.mode, use.size, use.digest) == ("write", -1, "")
