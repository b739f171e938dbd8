"""The locks: every file that `make` installs, by version and SHA-256, in `locks/*.txt` for `pip install --require-hashes`.

    python tools/lock.py write    resolve anew within constraints.txt (with uv, over the network), and write the locks
    python tools/lock.py fits     leave with 0 if the locks are for this Python and platform, with 1 if not

`build.txt` is what packages are built with, `quickstart.txt` what `make demo` installs, `dev.txt` what the tests need on top. A
version's hashes are those of all its files, so that one lock serves several Pythons. PyTorch, and the CUDA libraries that only it
brings, are in none: the CPU and CUDA builds of one version are different files under one name, by index. It is pinned by version.

Not here: which versions there are (constraints.txt), what is installed in the end (sbom.py).
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 10), (3, 15)
"""From, and below: what uv was asked to resolve for, and where PyTorch's own wheels end."""
BUILD = ("hatchling>=1.26", "editables", "setuptools", "wheel")
"""What fedtap is built with, and those packages of which there is only the source."""
LEFT_OUT = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)")


def fits(implementation: str, version: tuple[int, int], system: str, machine: str) -> bool:
    """Tell whether the locks are for a Python and platform."""
    return implementation == "CPython" and PYTHON[0] <= version < PYTHON[1] and (system, machine) == ("Linux", "x86_64")


def write() -> None:
    """Write the locks anew; all come from one resolution, so that a package has one version in all of them."""
    entries = resolved("quickstart", "dev")
    build, quickstart = resolved().keys(), resolved("quickstart").keys()
    (ROOT / "locks").mkdir(exist_ok=True)
    for name, first, names in (
        ("build", None, build),
        ("quickstart", "build", quickstart - build),
        ("dev", "quickstart", entries.keys() - quickstart - build),
    ):
        lines = [
            f"# Written by `python tools/lock.py write`: CPython {_dotted(0)} to below {_dotted(1)}, Linux, x86_64."
        ]
        lines += [f"-r {first}.txt"] if first else []
        text = "\n".join([*lines, *(entries[each] for each in sorted(names))])
        (ROOT / "locks" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


def resolved(*extras: str) -> dict[str, str]:
    """Return name -> its lines, with hashes, of what the build needs, and where extras are named what fedtap needs with them."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "build.in"
        build.write_text("\n".join(BUILD), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", str(build)]
        if extras:
            command += ["pyproject.toml", *(f"--extra={extra}" for extra in extras)]
        command += ["-c", "constraints.txt", "--universal", "--python-version", _dotted(0), "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    entries: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", found.strip()):
        name = entry.partition("==")[0]
        if LEFT_OUT.fullmatch(name) is None:
            entries[name] = f"{entries[name]}\n{entry}" if name in entries else entry
    return entries


def _dotted(end: int) -> str:
    return ".".join(map(str, PYTHON[end]))


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:] == ["fits"]:
        here = (platform.python_implementation(), sys.version_info[:2], platform.system(), platform.machine())
        sys.exit(not fits(*here))
    else:
        sys.exit(__doc__)
