"""The part of the Hub that its client talks to, on the loopback interface: repositories, commits, large files, cards.

Written against huggingface_hub 2.4 with `HF_HUB_DISABLE_XET=1`. Everything lies in memory. Use:

    with HubEmulator() as hub:
        ...  # a client with HF_ENDPOINT=hub.endpoint, set before its import, and HF_TOKEN=WRITE_TOKEN
        hub.files("org/name")  # {"config.json": b"...", ...}
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

WRITE_TOKEN, READ_TOKEN = "hf_writes", "hf_reads"
USER, ORGANISATION = "someone", "org"  # the namespaces that the write token may write to
_LFS = (".safetensors", ".parquet", ".png", ".mp4", ".bin", ".pt", ".pth")
_TIME = "2026-01-01T00:00:00.000Z"


@dataclass
class Fault:
    """
    Goes wrong on the next `times` requests of a method whose path matches.

    `kind` is a status to answer with, `"cut"` (the connection closes midway through the request's body) or `"mute"`
    (the request takes effect, but its answer never comes).
    """

    method: str
    path: str
    kind: int | str
    times: int = 10**9


@dataclass
class Commit:
    files: dict[str, bytes]
    lfs: frozenset[str]
    message: str


@dataclass
class Repository:
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes], lfs: frozenset[str], message: str) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[oid] = Commit(files, lfs, message)
        self.branches[branch] = oid
        return oid


class Answer(Exception):
    """Ends a request with a status, JSON or bytes, and headers."""

    def __init__(self, status: int, content: object = None, **headers: str):
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()


def refusal(status: int, message: str, code: str = "") -> Answer:
    headers = {"X_Error_Message": message, **({"X_Error_Code": code} if code else {})}
    return Answer(status, {"error": message}, **headers)


class HubEmulator:
    """The server; a context manager. `repositories` is by type (`"model"`, `"dataset"`) and id."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()  # "PUT lfs", "POST commit", ...
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "HubEmulator":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def head(self, repo_id: str, revision: str = "main", kind: str = "model") -> Commit:
        repository = self.repositories[kind, repo_id]
        return repository.commits[repository.branches[revision]]

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """What a branch holds, without the `.gitattributes` that every repository starts with."""
        files = self.head(repo_id, revision, kind).files
        return {name: content for name, content in files.items() if name != ".gitattributes"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubEmulator
    body: bytes

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        with self.hub.lock:
            fault = next((f for f in self.hub.faults if f.method == self.command and re.search(f.path, path)), None)
            if fault is not None:
                fault.times -= 1
                self.hub.faults = [other for other in self.hub.faults if other.times > 0]
        if fault is not None and fault.kind == "cut":
            self.rfile.read(max(1, int(self.headers.get("Content-Length", 2)) // 2))
            self.close_connection = True
            return
        self.body = self._read_body()
        try:
            if fault is not None and fault.kind != "mute":
                raise refusal(fault.kind, "as the test asked")
            with self.hub.lock:
                self._route(path)
        except Answer as answer:
            if fault is None or fault.kind != "mute":
                self._send(answer)
            else:
                self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    # ---- who asks ----

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (WRITE_TOKEN, READ_TOKEN):
            raise refusal(401, "Invalid credentials in Authorization header")
        return {WRITE_TOKEN: "writer", READ_TOKEN: "reader"}.get(token)

    def _require_writer(self, repo_id: str) -> None:
        user = self._user()
        if user is None:
            raise refusal(401, "Invalid username or password.")
        if user != "writer" or repo_id.split("/")[0] not in (USER, ORGANISATION):
            raise refusal(403, f"You don't have the rights to write to {repo_id}")

    def _repository(self, kind: str, repo_id: str) -> Repository:
        repository = self.hub.repositories.get((kind, repo_id))
        user = self._user()
        if repository is None or (repository.private and user is None):
            raise refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return repository

    def _commit(self, repository: Repository, revision: str) -> tuple[str, Commit]:
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            raise refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid, repository.commits[oid]

    # ---- what it asks for ----

    def _route(self, path: str) -> None:
        name = r"(?P<repo_id>[\w.-]+/[\w.-]+)"
        for method, pattern, function in (
            ("GET", r"/api/whoami-v2", self._whoami),
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("POST", rf"/api/(?P<kind>\w+)s/{name}/branch/(?P<branch>.+)", self._branch),
            ("POST", rf"/api/(?P<kind>\w+)s/{name}/preupload/(?P<revision>.+)", self._preupload),
            ("POST", rf"/api/(?P<kind>\w+)s/{name}/commit/(?P<revision>.+)", self._new_commit),
            ("POST", rf"/api/(?P<kind>\w+)s/{name}/paths-info/(?P<revision>.+)", self._paths_info),
            ("GET", rf"/api/(?P<kind>\w+)s/{name}/refs", self._refs),
            ("GET", rf"/api/(?P<kind>\w+)s/{name}/tree/(?P<revision>[^/]+)/?(?P<under>.*)", self._tree),
            ("GET", rf"/api/(?P<kind>\w+)s/{name}(/revision/(?P<revision>.+))?", self._info),
            ("POST", rf"/(?P<prefix>datasets/)?{name}\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self._put),
            ("GET|HEAD", rf"/(?P<prefix>datasets/)?{name}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
        ):
            match = re.fullmatch(pattern, path)
            if match and re.fullmatch(method, self.command):
                self.hub.requests[f"{self.command} {function.__name__.strip('_')}"] += 1
                function(**match.groupdict())
        raise refusal(404, f"{self.command} {path}: the emulator does not know this")

    def _whoami(self) -> None:
        if self._user() is None:
            raise refusal(401, "Invalid username or password.")
        raise Answer(200, {"type": "user", "name": USER, "orgs": [{"type": "org", "name": ORGANISATION}], "auth": {}})

    def _create(self) -> None:
        wanted = json.loads(self.body)
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        self._require_writer(repo_id)
        kind, prefix = wanted.get("type", "model"), "datasets/" if wanted.get("type") == "dataset" else ""
        content = {"url": f"{self.hub.endpoint}/{prefix}{repo_id}", "name": repo_id}
        if (kind, repo_id) in self.hub.repositories:
            raise Answer(409, {**content, "error": "You already created this repository"})
        repository = Repository(private=wanted.get("private", wanted.get("visibility") == "private"))
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in _LFS)
        repository.commit("main", {".gitattributes": attributes.encode()}, frozenset(), "initial commit")
        self.hub.repositories[kind, repo_id] = repository
        raise Answer(200, content)

    def _validate(self) -> None:
        content = json.loads(self.body)["content"]
        if re.match(r"---\n([\w-]+:.*\n|[ -].*\n)+---\n", content):
            raise Answer(200, {"errors": [], "warnings": []})
        raise Answer(400, {"errors": [{"message": "no metadata"}], "warnings": []})

    def _branch(self, kind: str, repo_id: str, branch: str) -> None:
        self._require_writer(repo_id)
        repository = self._repository(kind, repo_id)
        if branch in repository.branches:
            raise refusal(409, "Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        raise Answer(200, {})

    def _preupload(self, kind: str, repo_id: str, revision: str) -> None:
        self._require_writer(repo_id)
        files = self._commit(self._repository(kind, repo_id), revision)[1].files
        answers = [
            {
                "path": entry["path"],
                "uploadMode": "lfs" if entry["path"].endswith(_LFS) else "regular",
                "shouldIgnore": False,
                "oid": _oid(entry["path"], files[entry["path"]]) if entry["path"] in files else None,
            }
            for entry in json.loads(self.body)["files"]
        ]
        raise Answer(200, {"files": answers})

    def _batch(self, prefix: str | None, repo_id: str) -> None:
        self._require_writer(repo_id)
        answers = []
        for entry in json.loads(self.body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.endpoint}/lfs/{entry['oid']}"}}
            answers.append({**entry, **({} if entry["oid"] in self.hub.objects else {"actions": actions})})
        raise Answer(200, {"transfer": "basic", "objects": answers})

    def _put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise refusal(400, "The content is not that of the checksum")
        self.hub.objects[oid] = self.body
        raise Answer(200, {})

    def _new_commit(self, kind: str, repo_id: str, revision: str) -> None:
        self._require_writer(repo_id)
        repository = self._repository(kind, repo_id)
        before = self._commit(repository, revision)[1]
        files, lfs, message = dict(before.files), set(before.lfs), ""
        for line in self.body.splitlines():
            key, value = (json.loads(line)[name] for name in ("key", "value"))
            path = value.get("path")
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[path] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise refusal(400, f"LFS object {value['oid']} of {path} was not uploaded")
                files[path] = self.hub.objects[value["oid"]]
                lfs.add(path)
            elif key == "deletedFile":
                if path not in files:
                    raise refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                del files[path]
            else:
                raise refusal(400, f"Unknown operation {key}")
        oid = repository.commit(revision, files, frozenset(lfs & set(files)), message)
        raise Answer(200, {"commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{oid}", "commitOid": oid})

    def _info(self, kind: str, repo_id: str, revision: str | None) -> None:
        repository = self._repository(kind, repo_id)
        oid, commit = self._commit(repository, revision or "main")
        siblings = [{"rfilename": name} for name in commit.files]
        times = {"lastModified": _TIME, "createdAt": _TIME}
        info = {"id": repo_id, "sha": oid, "private": repository.private, "gated": False, "disabled": False}
        raise Answer(200, {**info, **times, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def _refs(self, kind: str, repo_id: str) -> None:
        branches = self._repository(kind, repo_id).branches
        refs = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in branches.items()]
        raise Answer(200, {"branches": refs, "converts": [], "tags": []})

    def _tree(self, kind: str, repo_id: str, revision: str, under: str) -> None:
        commit = self._commit(self._repository(kind, repo_id), revision)[1]
        under = under and under + "/"
        names = [name for name in commit.files if name.startswith(under)]
        if under and not names:
            raise refusal(404, f"{under} does not exist", "EntryNotFound")
        if self.query.get("recursive", ["false"])[0].lower() in ("true", "1"):
            raise Answer(200, [_entry(commit, name) for name in names])
        folders = sorted({under + name[len(under) :].split("/")[0] for name in names if "/" in name[len(under) :]})
        entries = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders]
        raise Answer(200, entries + [_entry(commit, name) for name in names if "/" not in name[len(under) :]])

    def _paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        commit = self._commit(self._repository(kind, repo_id), revision)[1]
        paths = parse_qs(self.body.decode()).get("paths", [])
        entries = [_entry(commit, path) for path in paths if path in commit.files]
        folders = {path for path in paths if any(name.startswith(path + "/") for name in commit.files)}
        raise Answer(200, entries + [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders])

    def _resolve(self, prefix: str | None, repo_id: str, revision: str, file: str) -> None:
        oid, commit = self._commit(self._repository("dataset" if prefix else "model", repo_id), revision)
        if file not in commit.files:
            raise Answer(404, {}, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=oid)
        content = commit.files[file]
        headers = {"X_Repo_Commit": oid, "ETag": f'"{_oid(file, content)}"', "Accept_Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
            headers |= {"Content_Range": f"bytes {start}-{end}/{len(content)}"}
            raise Answer(206, content[start : end + 1], **headers)
        raise Answer(200, content, **headers)


def _oid(path: str, content: bytes) -> str:
    """As git and LFS name a file."""
    if path.endswith(_LFS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(commit: Commit, path: str) -> dict:
    content = commit.files[path]
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path in commit.lfs:
        entry["lfs"] = {"oid": _oid(path, content), "size": len(content), "pointerSize": 130}
    return entry
