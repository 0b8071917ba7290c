"""A Hugging Face hub on 127.0.0.1, for huggingface_hub's real client."""

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path


@contextlib.contextmanager
def hub(models: dict[str, Path], cache: Path, refusals: dict[str, tuple] | None = None):
    """(environment for a client whose cache is `cache`, list of (method, path) asked).

    `models` has each model's name and folder; `refusals` has, for names, the status, X-Error-Code
    and X-Error-Message that every request for them gets. A model's revision is made of its files.
    """
    refusals, asked = refusals or {}, []

    def revision(folder: Path) -> str:
        digest = hashlib.sha1()
        for file in sorted(folder.glob("*")):
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self):
            path = self.path.partition("?")[0].strip("/")
            asked.append((self.command, path))
            api = path.startswith("api/models/")
            parts = path.removeprefix("api/models/").split("/")
            name, rest = "/".join(parts[:2]), parts[2:]
            if name in refusals:
                status, code, message = refusals[name]
                return self.answer(status, X_Error_Code=code, X_Error_Message=message)
            if name not in models:
                return self.answer(401, X_Error_Code="RepoNotFound")
            folder, sha = models[name], revision(models[name])
            if rest[1:2] not in (["main"], [sha]):
                return self.answer(404, X_Error_Code="RevisionNotFound")
            if api and rest[0] == "revision":
                return self.answer(200, json.dumps({"id": name, "sha": sha}).encode())
            if api and rest[0] == "tree":
                tree = [
                    {
                        "type": "file",
                        "path": file.name,
                        "size": file.stat().st_size,
                        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                    }
                    for file in sorted(folder.glob("*"))
                ]
                return self.answer(200, json.dumps(tree).encode())
            file = folder / rest[-1]
            if not file.is_file():
                return self.answer(404, X_Error_Code="EntryNotFound")
            content = file.read_bytes()
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(200, content, ETag=etag, X_Repo_Commit=sha)

        do_HEAD = do_GET

        def log_message(self, *_):
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        yield {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}, asked
    finally:
        server.shutdown()
        server.server_close()
