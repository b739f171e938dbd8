"""A stand-in of the Hugging Face hub on loopback: what its client and `datasets` ask of it, and what goes wrong on purpose.

It serves repositories from memory: their description, their tree, and their files with the digests, commits and ranges that the
hub's client goes by. `paper_hub` has the repositories of the paper's two federations, with the hub's layouts and schemas and tiny
contents.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".parquet", ".bin", ".tar")
"""What the hub keeps apart from git, under its SHA-256."""


@dataclass
class Repo:
    """A repository at one commit, and what is wrong with it."""

    files: dict[str, bytes]
    licence: str | list[str] | None = None
    commit: str = ""
    branches: tuple[str, ...] = ("main",)
    gated: int = 0
    """Under which status its files are kept back, if they are."""
    private: bool = False
    cut: dict[str, int] = field(default_factory=dict)
    """After how many bytes a file's transfer breaks off, the next time."""
    always_cut: bool = False
    """Whether it does so every time, and without a byte."""
    altered: set[str] = field(default_factory=set)
    """Files that come with other bytes than are listed."""
    fails: int = 0
    """With which status its files fail."""

    def __post_init__(self) -> None:
        self.commit = self.commit or hashlib.sha1(repr(sorted(self.files)).encode()).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        """Return what the tree says of a file."""
        data = self.files[path]
        found: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git(data)}
        if path.endswith(LARGE):
            found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def sibling(self, path: str) -> dict[str, Any]:
        """Return what the description says of a file."""
        data = self.files[path]
        found: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git(data)}
        if path.endswith(LARGE):
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def etag(self, path: str) -> str:
        """Return what a file is known by."""
        data = self.files[path]
        return hashlib.sha256(data).hexdigest() if path.endswith(LARGE) else git(data)


def git(data: bytes) -> str:
    """Return the name of git's blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """The server's state: repositories by kind and name, and every request that came."""

    def __init__(self, repos: Mapping[tuple[str, str], Repo]) -> None:
        self.repos = dict(repos)
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.address = ""

    def files_sent(self) -> list[str]:
        """Return the paths of the files that were asked for, in order."""
        return [path for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _reply(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _repo(self, kind: str, name: str, revision: str | None) -> Repo | None:
        """Return the repository, or reply what is wrong."""
        repo = self.hub.repos.get((kind, name))
        if repo is None or repo.private:
            self._reply(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
            return None
        if revision not in (None, repo.commit, *repo.branches):
            self._reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return repo

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(.+))?", path):
            self._described(found[1], found[2], found[3] or "")
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/(refs/[^/]+/[^/]+|[^/]+)/(.+)", path):
            self._file("dataset" if found[1] else "model", found[2], found[3], found[4])
        else:
            self._reply(404, {"error": "not found"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, ""))
        found = re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/paths-info/(.+)", path)
        if not found or not (repo := self._repo(found[1], found[2], found[3])):
            return
        named = _form(body, self.headers.get("Content-Type", ""))
        self._reply(200, [self._there(repo, each) for each in named if self._there(repo, each)])

    @staticmethod
    def _there(repo: Repo, path: str) -> dict[str, Any] | None:
        if path in repo.files:
            return repo.described(path)
        if any(file.startswith(f"{path}/") for file in repo.files):
            return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
        return None

    def _described(self, kind: str, name: str, rest: str) -> None:
        what, _, more = rest.partition("/")
        revision = more.partition("/")[0] if what in ("revision", "tree") else None
        if what == "revision":
            revision = more
        if (repo := self._repo(kind, name, revision)) is None:
            return
        if what == "auth-check":
            if repo.gated:
                self._reply(repo.gated, {"error": "gated"}, X_Error_Code="GatedRepo")
            else:
                self._reply(200, {})
        elif what == "tree":
            below = more.partition("/")[2]
            self._reply(
                200, self._tree(repo, below, deep="recursive=True" in self.path or "recursive=true" in self.path)
            )
        elif what in ("", "revision"):
            told = {
                "id": name,
                "sha": repo.commit,
                "private": False,
                "gated": "manual" if repo.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "cardData": {} if repo.licence is None else {"license": repo.licence},
                "siblings": [repo.sibling(path) for path in repo.files],
            }
            self._reply(200, told)
        else:
            self._reply(404, {"error": "not found"})

    def _tree(self, repo: Repo, below: str, *, deep: bool) -> list[dict[str, Any]]:
        start = f"{below}/" if below else ""
        found: dict[str, dict[str, Any]] = {}
        for path in repo.files:
            if not path.startswith(start):
                continue
            folders = path[len(start) :].split("/")[:-1]
            if folders:
                top = start + folders[0]
                found[top] = {"type": "directory", "path": top, "oid": "0" * 40, "size": 0}
            if deep or not folders:
                found[path] = repo.described(path)
        return list(found.values())

    def _file(self, kind: str, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(kind, name, revision)) is None:
            return
        if repo.gated:
            return self._reply(repo.gated, {"error": "gated"}, X_Error_Code="GatedRepo")
        if path not in repo.files:
            return self._reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=repo.commit)
        data = repo.files[path]
        if repo.fails and self.command == "GET":
            return self._reply(repo.fails, {"error": "it fails"})
        if path in repo.altered:
            data = bytes(byte ^ 1 for byte in data)
        self._content(repo, path, data)

    def _content(self, repo: Repo, path: str, data: bytes) -> None:
        start = int(found[1]) if (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        part = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{repo.etag(path)}"')
        self.send_header("X-Repo-Commit", repo.commit)
        self.send_header("Content-Length", str(len(part)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = 0 if repo.always_cut and path in repo.cut else repo.cut.pop(path, None)
        self.wfile.write(part if cut is None else part[:cut])
        if cut is not None:
            self.close_connection = True


def _form(body: bytes, kind: str) -> list[str]:
    if "json" in kind:
        return list(json.loads(body)["paths"])
    from urllib.parse import parse_qs

    return parse_qs(body.decode())["paths"]


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a port of its own."""
    handler = type("ThisHub", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def point_at(hub: Hub, home: Path, patch: pytest.MonkeyPatch) -> None:
    """Have this process's client and `datasets` ask this hub, and keep what comes in ``home``: HF_ENDPOINT and HF_HOME."""
    import datasets
    from huggingface_hub import constants, hf_api

    from fedtap.backbones import pretrained_tower, weights
    from fedtap.backbones.checkpoints import fetched

    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(hf_api.api, "endpoint", hub.address)
    patch.setattr(constants, "HF_HOME", str(home))
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(datasets.config, "HF_ENDPOINT", hub.address)
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    patch.setattr(weights, "_modules", {})
    fetched.cache_clear()
    pretrained_tower._found.cache_clear()


def tiny_model(name: str, folder: Path) -> dict[str, bytes]:
    """Return the files of a tiny twin of FLAVA or ViLT, written as the published ones were: with the heads of pretraining."""
    import torch
    from transformers import FlavaModel, ViltForMaskedLM

    from fedtap.backbones import flava, vilt
    from fedtap.backbones.untrained import tiny_pieces

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = FlavaModel(flava._tiny()) if name == "flava" else ViltForMaskedLM(vilt._tiny())
    model.save_pretrained(folder)
    tiny_pieces().save(str(folder / "tokenizer.json"))
    mean = flava.MEAN if name == "flava" else vilt.MEAN
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": mean}))
    (folder / "vocab.txt").write_text("\n".join(tiny_pieces().get_vocab()))
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {**files, "pytorch_model.bin": b"\x80\x04 a pickle, which nobody needs"}


def parquet(split: Any) -> bytes:
    """Return a split as the hub has it."""
    file = io.BytesIO()
    split.to_parquet(file)
    return file.getvalue()


def card(features: Any, configs: Mapping[str, Mapping[str, str]], licence: str = "mit") -> bytes:
    """Return a data set's card, which says which columns and files each configuration has."""
    import yaml

    about = {
        "license": licence,
        "dataset_info": [{"config_name": name, "features": features._to_yaml_list()} for name in configs],
        "configs": [
            {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
            for name, splits in configs.items()
        ],
    }
    return f"---\n{yaml.safe_dump(about)}---\n# A data set\n".encode()
