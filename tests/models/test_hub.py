"""Models to the hub and back, through huggingface_hub's own functions and a stand-in of the hub on loopback."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError
from models.test_personal_model import run

__all__ = ["run"]


class Hub(BaseHTTPRequestHandler):
    """Takes repositories and commits, and gives their files back; what it was asked is in ``made``."""

    files: dict[str, bytes]
    made: dict[str, Any]
    commit = "a" * 40

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _reply(self, body: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), "x-repo-commit": self.commit, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/api/repos/create":
            self.made.update(json.loads(body))
            self._reply({"url": f"http://{self.headers['host']}/group/triage"})
        elif "/preupload/" in self.path:
            named = [each["path"] for each in json.loads(body)["files"]]
            self._reply({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in named]})
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    self.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            url = f"http://{self.headers['host']}/group/triage/commit/{self.commit}"
            self._reply({"success": True, "commitOid": self.commit, "commitUrl": url, "hookOutput": ""})
        else:
            self._reply({"valid": True})

    def do_GET(self) -> None:
        found = re.fullmatch(r"/group/triage/resolve/[^/]+/(.+)", self.path)
        if found and found[1] in self.files:
            data = self.files[found[1]]
            self._reply(data, {"etag": f'"{hashlib.sha256(data).hexdigest()}"'})
        elif re.match(r"/api/models/group/triage/tree/", self.path):
            self._reply(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
                    for path, data in self.files.items()
                ]
            )
        elif re.match(r"/api/models/group/triage", self.path):
            told = [{"rfilename": path} for path in [*self.files, "unrelated.bin"]]
            self._reply(
                {
                    "id": "group/triage",
                    "sha": self.commit,
                    "private": True,
                    "tags": [],
                    "downloads": 0,
                    "siblings": told,
                }
            )
        else:
            self._reply({"error": "not found"}, status=404)

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    kind = type("ThisHub", (Hub,), {"files": {}, "made": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        from huggingface_hub import constants, hf_api

        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(hf_api.api, "endpoint", endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        try:
            yield kind
        finally:
            server.shutdown()
            thread.join()


def test_a_model_goes_to_the_hub_and_back(run: Path, hub: type[Hub]) -> None:
    model = PersonalModel.from_run(run, "clinic")
    address = model.push_to_hub("group/triage", token="hf_stand_in")
    assert address.endswith("/group/triage")
    assert (hub.made["name"], hub.made["organization"]) == ("triage", "group")
    assert (
        hub.made.get("visibility") == "private" or hub.made.get("private") is True
    )  # as this version of the client says it
    assert {"README.md", "config.json", "model.safetensors"} <= hub.files.keys()
    found = PersonalModel.from_pretrained("group/triage")
    assert found.predict(text="rain") == model.predict(text="rain")
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:-8] + b"12345678"
    hub.commit = "b" * 40  # as a new commit would have it
    with pytest.raises(UserError, match="damaged"):
        PersonalModel.from_pretrained("group/triage")


def test_what_the_hub_does_not_take_or_have_is_one_line(run: Path, hub: type[Hub]) -> None:
    with pytest.raises(UserError, match="group/nothing: no such folder; taken for a name on the hub: "):
        PersonalModel.from_pretrained("group/nothing")
    with pytest.raises(UserError, match="no name on the hub"):
        PersonalModel.from_run(run, "clinic").push_to_hub("triage")
