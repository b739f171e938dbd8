"""What a stranger may write into a folder, with right seals: a seal is no signature."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from e2e.conftest import Called
from fedtap.runtime.sealed import write_sealed_json
from fedtap.runtime.sealed_tensors import write_sealed_tensors


def one_line(done: Called) -> bool:
    said = [line for line in done.err.splitlines() if line]
    return done.code == 2 and len(said) == 1 and said[0].startswith("fedtap: ") and "\x1b" not in done.err + done.out


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change what a JSON file holds, and seal it again where it had a seal; what JSON has no words for is written too."""
    value = json.loads(path.read_text())
    sealed = isinstance(value, dict) and "digest" in value
    of = value.pop("of") if sealed else None
    if sealed:
        value.pop("digest")
    value = change(value)
    if sealed and isinstance(value, dict):
        try:
            write_sealed_json(path, value, of)
        except ValueError:  # no finite number: sealed by hand
            told = {**value, "of": of}
            text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            path.write_text(json.dumps({**told, "digest": digest}))
    else:
        path.write_text(json.dumps(value))


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def weights(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    with safe_open(path, framework="pt") as file:
        seal = json.loads(file.metadata()["seal"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    write_sealed_tensors(path, change(tensors), seal["facts"], seal["of"])


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**6, 10**9, 10**90, 10**400, 1e308, float("nan"), float("inf"), "", "experts", "\x1b[2J",
    "\u202e", "\ud800", "x" * 100_000, [], {}, [None], {"a": None}, deep(50), deep(500), "../../../etc/passwd", "/etc/passwd",
)  # fmt: skip


def oddly(value: Any, draw: random.Random) -> Any:
    """Return a JSON value with something odd at one place of it."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.15:
        return draw.choice(ODD)
    if isinstance(value, dict):
        key = draw.choice(sorted(value))
        how = draw.random()
        if how < 0.1:
            return {other: inner for other, inner in value.items() if other != key}
        if how < 0.2:
            return {**value, str(draw.choice(ODD))[:1_000]: draw.choice(ODD)}
        return {**value, key: oddly(value[key], draw)}
    place = draw.randrange(len(value))
    return [*value[:place], oddly(value[place], draw), *value[place + 1 :]]


def facts(path: Path, change: Callable[[Any], Any]) -> None:
    """Change what a sealed file says beside its tensors, and seal it again."""
    with safe_open(path, framework="pt") as file:
        seal = json.loads(file.metadata()["seal"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    told = change({"facts": seal["facts"], "of": seal["of"]})
    told = told if isinstance(told, dict) else {"facts": told}
    of = told.get("of")
    write_sealed_tensors(path, tensors, told.get("facts"), of if isinstance(of, dict) else seal["of"])


def garble(path: Path, draw: random.Random) -> None:
    """Change some bytes of a sealed file's description of its tensors, and seal it again."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = bytearray(data[8 : 8 + size])
    for _ in range(draw.randrange(1, 6)):
        header[draw.randrange(200, size)] = draw.choice(b'0123456789[]{}:,"FI\\x00 ')
    start = len(b'{"__metadata__":{"seal":"{\\"digest\\":\\"')
    header[start : start + 64] = b"0" * 64
    whole = data[:8] + bytes(header) + data[8 + size :]
    found = hashlib.sha256(whole).hexdigest().encode()
    path.write_bytes(whole[: 8 + start] + found + whole[8 + start + 64 :])
