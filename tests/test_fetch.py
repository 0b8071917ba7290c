"""Data comes by checksum: kept when right, refused when wrong, never overwritten, resumed."""

import hashlib
import http.server
import os
import subprocess
import threading
from pathlib import Path

import pytest

from conftest import ROOT
from test_original_suite import SCRIPT as SCRIPT_TEXT

ROWS = {"data/rows/train.jsonl": b'{"n": 1}\n' * 5000, "data/rows/valid.jsonl": b'{"n": 2}\n' * 90}
SCRIPT = "scripts/ask.py"


@pytest.fixture
def mirror(tmp_path):
    """A folder with the tree of the repository; `sums` beside it lists the files' sha256."""
    folder, sums = tmp_path / "mirror", ""
    for name, content in {**ROWS, SCRIPT: SCRIPT_TEXT.encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (tmp_path / "sums").write_text(sums)
    return folder


@pytest.fixture
def web(mirror):
    """The mirror over HTTP: (url, requests). `behaviour` says what goes wrong, set by the test."""
    requests, behaviour = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            start = self.headers.get("Range", "")
            requests.append((self.path, start))
            if behaviour.get("busy", 0) > 0:
                behaviour["busy"] -= 1
                return self.send_error(503)
            file = mirror / self.path.lstrip("/")
            if not file.is_file():
                return self.send_error(404)
            content, first = file.read_bytes(), 0
            if start and behaviour.get("ranges", True):
                first = int(start.removeprefix("bytes=").removesuffix("-"))
                if first >= len(content):
                    return self.send_error(416)
                self.send_response(206)
                size = len(content)
                self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            else:
                self.send_response(200)
            content = content[first:]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if behaviour.get("cut") and len(content) > behaviour["cut"]:
                content = content[: behaviour["cut"]]
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, *_):
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests, behaviour
    server.shutdown()


def fetch(url, tmp_path, *names):
    """bin/fetch.sh for files in tmp_path/got, and what it wrote to stderr, as lines."""
    files = [tmp_path / "rows" / name for name in names or ("train.jsonl", "valid.jsonl")]
    command = [ROOT / "bin/fetch.sh", url, tmp_path / "sums", *files]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    return run, run.stderr.splitlines()


def got(tmp_path):
    """File name -> content of what was fetched, half-fetched files too."""
    return {file.name: file.read_bytes() for file in sorted((tmp_path / "rows").glob("*"))}


WHOLE = {Path(name).name: content for name, content in ROWS.items()}


def test_a_tree_and_a_folder_of_files_are_mirrors(mirror, tmp_path):
    run, _ = fetch(f"file://{mirror}", tmp_path)
    assert run.returncode == 0 and got(tmp_path) == WHOLE
    for name in WHOLE:
        (tmp_path / "rows" / name).unlink()
    run, _ = fetch(f"file://{mirror}/data/rows/", tmp_path)
    assert run.returncode == 0 and got(tmp_path) == WHOLE


def test_a_second_fetch_keeps_what_is_there(mirror, tmp_path):
    fetch(f"file://{mirror}", tmp_path)
    dates = {file: os.stat(file).st_mtime_ns for file in (tmp_path / "rows").glob("*")}
    run, _ = fetch("file:///nowhere", tmp_path)
    assert run.returncode == 0 and run.stdout.count("there, sha256 as in") == 2
    assert {file: os.stat(file).st_mtime_ns for file in dates} == dates


DAMAGES = {
    "tampered": lambda file: file.write_bytes(b"X" + file.read_bytes()[1:]),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-400]),
    "empty": lambda file: file.write_bytes(b""),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\n"),
    "a web page": lambda file: file.write_text("<html>sign in first</html>"),
    "Windows line ends": lambda file: file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line_and_not_kept(mirror, tmp_path, damage):
    DAMAGES[damage](mirror / "data/rows/train.jsonl")
    run, lines = fetch(f"file://{mirror}", tmp_path)
    assert run.returncode == 2 and len(lines) == 1, lines
    assert "train.jsonl: what file:" in lines[0] and "is not the file that" in lines[0]
    assert got(tmp_path) == {"valid.jsonl": WHOLE["valid.jsonl"]}


def test_a_missing_file_is_one_line_and_the_others_come(mirror, tmp_path):
    (mirror / "data/rows/train.jsonl").unlink()
    run, lines = fetch(f"file://{mirror}", tmp_path)
    assert run.returncode == 2 and len(lines) == 1, lines
    assert "train.jsonl: not to be had from file:" in lines[0]
    assert got(tmp_path) == {"valid.jsonl": WHOLE["valid.jsonl"]}


def test_another_file_in_the_place_is_never_overwritten(mirror, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/train.jsonl").write_text("mine\n")
    run, lines = fetch(f"file://{mirror}", tmp_path)
    assert run.returncode == 2 and len(lines) == 1, lines
    assert "train.jsonl: another file than" in lines[0] and "move it away" in lines[0]
    assert got(tmp_path)["train.jsonl"] == b"mine\n"


@pytest.mark.parametrize("left", [b'{"n": 1}\n' * 100, b"rubbish", b'{"n": 1}\n' * 9000])
def test_half_a_download_is_finished_or_thrown_away(mirror, tmp_path, left):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/train.jsonl.part").write_bytes(left)
    run, lines = fetch(f"file://{mirror}", tmp_path)
    assert run.returncode == 0 and got(tmp_path) == WHOLE, lines


def test_a_misspelt_folder_is_not_filled_with_other_rows(mirror, tmp_path):
    command = [ROOT / "bin/fetch.sh", f"file://{mirror}", tmp_path / "sums"]
    command += [tmp_path / "rowz/train.jsonl"]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and "is DATA misspelt?" in run.stderr
    assert not (tmp_path / "rowz").exists()


def test_two_fetches_at_once_do_not_disturb_each_other(web, tmp_path):
    url, _, behaviour = web
    behaviour["cut"] = 20_000  # so that both go on while the other is at work
    files = [tmp_path / "rows/train.jsonl"]
    command = list(map(str, [ROOT / "bin/fetch.sh", url, tmp_path / "sums", *files]))
    two = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=60)[1] for run in two]
    assert [run.returncode for run in two] == [0, 0], said
    assert got(tmp_path) == {"train.jsonl": WHOLE["train.jsonl"]}


def test_what_an_interrupted_fetch_had_is_gone_on_with(web, tmp_path):
    """Ctrl-C, or a kill: the half file is under no final name, and is not fetched twice."""
    url, requests, behaviour = web
    (tmp_path / "rows").mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"rows/train.jsonl.part.{dead.pid}").write_bytes(WHOLE["train.jsonl"][:30_000])
    run, lines = fetch(url, tmp_path, "train.jsonl")
    assert run.returncode == 0 and got(tmp_path)["train.jsonl"] == WHOLE["train.jsonl"], lines
    assert [start for _, start in requests] == ["bytes=30000-"]
    assert list(got(tmp_path)) == ["train.jsonl"] and not behaviour


def test_a_folder_in_the_files_place_is_left_alone(mirror, tmp_path):
    (tmp_path / "rows/train.jsonl").mkdir(parents=True)
    run, lines = fetch(f"file://{mirror}", tmp_path, "train.jsonl")
    assert run.returncode == 2 and "no regular file" in lines[0]
    assert list((tmp_path / "rows/train.jsonl").iterdir()) == []


def test_unusable_arguments_are_one_line(mirror, tmp_path):
    def said(url, *names):
        run, lines = fetch(url, tmp_path, *names)
        assert run.returncode == 2 and len(lines) == 1, lines
        return lines[0]

    assert "DATA_URL=none" in said("none", "train.jsonl")
    assert "expected https://" in said("/some/folder", "train.jsonl")
    assert "lists no such name" in said(f"file://{mirror}", "other.jsonl")
    assert "~/.netrc" in said("https://me:secret@example.org", "train.jsonl")
    assert "secret" not in said("https://me:secret@example.org", "train.jsonl")
    (tmp_path / "rows").write_text("no folder")
    assert "cannot be written" in said(f"file://{mirror}", "train.jsonl")
    (tmp_path / "sums").unlink()
    assert "CHECKSUMS names the list" in said(f"file://{mirror}", "train.jsonl")


def test_a_connection_that_breaks_goes_on_where_it_broke(web, tmp_path):
    url, requests, behaviour = web
    behaviour["cut"] = 20_000  # of 45,000 bytes
    run, lines = fetch(url, tmp_path, "train.jsonl")
    assert run.returncode == 0 and got(tmp_path)["train.jsonl"] == WHOLE["train.jsonl"], lines
    assert [start for _, start in requests] == ["", "bytes=20000-", "bytes=40000-"]


def test_a_server_without_ranges_starts_over(web, tmp_path):
    url, _, behaviour = web
    behaviour["ranges"] = False
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/train.jsonl.part").write_bytes(WHOLE["train.jsonl"][:900])
    run, lines = fetch(url, tmp_path, "train.jsonl")
    assert run.returncode == 0 and got(tmp_path)["train.jsonl"] == WHOLE["train.jsonl"], lines


def test_a_busy_server_is_asked_again_and_a_download_that_is_whole_is_used(web, tmp_path):
    url, _, behaviour = web
    behaviour["busy"] = 1
    run, lines = fetch(url, tmp_path, "valid.jsonl")
    assert run.returncode == 0 and got(tmp_path)["valid.jsonl"] == WHOLE["valid.jsonl"], lines
    (tmp_path / "rows/train.jsonl.part").write_bytes(WHOLE["train.jsonl"])
    run, lines = fetch(url, tmp_path, "train.jsonl")
    assert run.returncode == 0 and got(tmp_path) == WHOLE, lines


@pytest.mark.usefixtures("mirror")
def test_no_server_is_one_line(tmp_path):
    run, lines = fetch("http://127.0.0.1:9", tmp_path, "train.jsonl")
    assert run.returncode == 2 and len(lines) == 1 and "curl: (7)" in lines[0], lines


def test_make_data_and_make_eval_fetch_what_is_missing(mirror, tmp_path, make):
    settings = [f"DATA_URL=file://{mirror}", f"CHECKSUMS={tmp_path}/sums", f"DATA={tmp_path}/rows"]
    settings += ["SUITE=data/suite.json", f"BUILD={tmp_path}/build"]
    planned = make("-n", "eval", *settings).stdout
    assert f"bin/fetch.sh 'file://{mirror}' {tmp_path}/sums {tmp_path}/rows/train.jsonl" in planned
    run = make("data", *settings)
    assert run.returncode == 0 and got(tmp_path) == WHOLE, run.stderr
    assert "bin/fetch.sh" not in make("-n", "eval", *settings).stdout


def test_the_prompts_are_read_once_and_an_edited_copy_is_not_overwritten(mirror, tmp_path):
    suite = tmp_path / "suite.json"
    command = [ROOT / "bin/python", ROOT / "py/original_suite.py", "--script", mirror / SCRIPT]
    command += ["--out", suite]

    def extract():
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)

    assert extract().returncode == 0 and extract().returncode == 0
    suite.write_text(suite.read_text().replace("Find X", "Find Y"))
    run = extract()
    assert run.returncode == 2 and "left as it is" in run.stderr and "Find Y" in suite.read_text()
    assert list(tmp_path.glob("suite.json.*")) == []
