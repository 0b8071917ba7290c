"""Data comes by checksum: kept when right, refused when wrong, never overwritten, resumed."""

import hashlib
import http.server
import subprocess
import threading

import pytest

from conftest import ROOT, wait_for

ROWS = {"train.jsonl": b'{"n": 1}\n' * 5000, "valid.jsonl": b'{"n": 2}\n' * 90}
TRAIN = ROWS["train.jsonl"]


@pytest.fixture
def mirror(tmp_path):
    """A folder with the rows under data/rows; `sums` beside it lists their sha256."""
    folder, sums = tmp_path / "mirror", ""
    (folder / "data/rows").mkdir(parents=True)
    for name, content in ROWS.items():
        (folder / "data/rows" / name).write_bytes(content)
        sums += f"{hashlib.sha256(content).hexdigest()}  data/rows/{name}\n"
    (tmp_path / "sums").write_text(sums)
    return folder


@pytest.fixture
def web(mirror):
    """The mirror over HTTP: (url, starts, behaviour). `starts` has the first byte of each request.

    A test sets behaviour: "cut" is how many bytes come before the connection breaks, and "hold" is
    what the first request waits for.
    """
    starts, behaviour = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = mirror / self.path.lstrip("/")
            if not file.is_file():
                return self.send_error(404)
            start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            hold = behaviour.get("hold") if not starts else None
            starts.append(int(start))
            content = file.read_bytes()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - int(start)))
            self.end_headers()
            if hold:
                hold.wait(60)
            self.wfile.write(content[int(start) :][: behaviour.get("cut")])

        def log_message(self, *_):
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", starts, behaviour
    server.shutdown()


def command(url, tmp_path, *names):
    files = [tmp_path / "rows" / name for name in names or ROWS]
    return list(map(str, [ROOT / "bin/fetch.sh", url, tmp_path / "sums", *files]))


def fetch(url, tmp_path, *names):
    """Exit status of a fetch into tmp_path/rows, and what it wrote to stderr, as lines."""
    words = command(url, tmp_path, *names)
    run = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stderr.splitlines()


def got(tmp_path):
    """File name -> content of what was fetched, half-fetched files too."""
    return {file.name: file.read_bytes() for file in (tmp_path / "rows").glob("*")}


def leave(tmp_path, name, content):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / name).write_bytes(content)


@pytest.mark.parametrize("folder", ["", "/data/rows/"])
def test_a_tree_and_a_folder_of_files_are_mirrors(mirror, tmp_path, folder):
    assert fetch(f"file://{mirror}{folder}", tmp_path) == (0, [])
    assert got(tmp_path) == ROWS
    assert fetch("file:///nowhere", tmp_path) == (0, [])  # nothing is missing


@pytest.mark.parametrize("damaged", [b"X" + TRAIN[1:], TRAIN[:-400], b"", b"<html>sign in</html>"])
def test_a_damaged_file_is_one_line_and_the_others_come(mirror, tmp_path, damaged):
    (mirror / "data/rows/train.jsonl").write_bytes(damaged)
    status, lines = fetch(f"file://{mirror}", tmp_path)
    assert status == 2 and len(lines) == 1, lines
    assert f"train.jsonl: what came from file://{mirror} is not the file that" in lines[0]
    assert got(tmp_path) == {"valid.jsonl": ROWS["valid.jsonl"]}


def test_another_file_in_the_place_is_never_overwritten(mirror, tmp_path):
    leave(tmp_path, "train.jsonl", b"mine\n")
    link = tmp_path / "rows/valid.jsonl"
    link.symlink_to(tmp_path / "a disk that is away/valid.jsonl")
    status, lines = fetch(f"file://{mirror}", tmp_path)
    assert status == 2 and len(lines) == 2, lines
    assert "left as it is: move it away" in lines[0] and "left as it is" in lines[1]
    assert (tmp_path / "rows/train.jsonl").read_bytes() == b"mine\n" and link.is_symlink()


def test_a_download_goes_on_where_the_connection_broke_and_so_does_the_next_fetch(web, tmp_path):
    url, starts, behaviour = web
    behaviour["cut"] = 9_000  # of 45,000 bytes
    status, lines = fetch(url, tmp_path, "train.jsonl")
    assert status == 2 and len(lines) == 1 and "curl: (18)" in lines[0], lines
    assert got(tmp_path) == {"train.jsonl.part": TRAIN[:27_000]}
    assert fetch(url, tmp_path, "train.jsonl") == (0, [])
    assert got(tmp_path) == {"train.jsonl": TRAIN}
    assert starts == [0, 9_000, 18_000, 27_000, 36_000]


def test_a_part_that_cannot_be_continued_is_fetched_from_the_start(mirror, tmp_path):
    leave(tmp_path, "train.jsonl.part", TRAIN + TRAIN)
    assert fetch(f"file://{mirror}", tmp_path) == (0, [])
    assert got(tmp_path) == ROWS


def test_two_fetches_at_once_leave_no_wrong_file(web, tmp_path):
    """Both continue the same part, and the slower one writes after the other has finished."""
    url, starts, behaviour = web
    behaviour["hold"] = threading.Event()
    leave(tmp_path, "train.jsonl.part", TRAIN[:900])
    slow = subprocess.Popen(command(url, tmp_path, "train.jsonl"), stderr=subprocess.DEVNULL)
    wait_for(lambda: starts)
    fetch(url, tmp_path, "train.jsonl")
    behaviour["hold"].set()
    slow.wait(60)
    assert got(tmp_path) == {"train.jsonl": TRAIN}


@pytest.mark.parametrize(
    ("url", "name", "says"),
    [
        (
            "file://MIRROR",
            "../rowz/train.jsonl",
            "is DATA, or another key",
        ),
        ("file://MIRROR", "other.jsonl", "is DATA, or another key"),
        ("none", "train.jsonl", "it cannot be fetched (DATA_URL=none,"),
        ("file:///nowhere", "train.jsonl", "cannot be fetched: file:///nowhere/data/rows/train"),
        ("http://127.0.0.1:9", "train.jsonl", "curl: (7)"),
        ("https://me:secret@example.org", "train.jsonl", "put it into ~/.netrc"),
    ],
)
def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(mirror, tmp_path, url, name, says):
    status, lines = fetch(url.replace("MIRROR", str(mirror)), tmp_path, name)
    assert status == 2 and len(lines) == 1 and says in lines[0], lines
    assert "secret" not in lines[0]
    assert got(tmp_path) == {} and not (tmp_path / "rowz").exists()


def test_a_missing_list_of_checksums_is_one_line(mirror, tmp_path):
    (tmp_path / "sums").unlink()
    status, lines = fetch(f"file://{mirror}", tmp_path)
    assert status == 2 and len(lines) == 1 and "CHECKSUMS names the list" in lines[0], lines


def test_make_data_and_make_eval_fetch_what_is_missing(mirror, tmp_path, make):
    settings = [f"DATA_URL=file://{mirror}", f"CHECKSUMS={tmp_path}/sums", f"DATA={tmp_path}/rows"]
    settings += ["SUITE=data/suite.json", f"BUILD={tmp_path}/build"]
    planned = make("-n", "eval", *settings).stdout
    assert f"bin/fetch.sh 'file://{mirror}' {tmp_path}/sums {tmp_path}/rows/train.jsonl" in planned
    run = make("data", *settings)
    assert run.returncode == 0 and got(tmp_path) == ROWS, run.stderr
    assert "bin/fetch.sh" not in make("-n", "eval", *settings).stdout
