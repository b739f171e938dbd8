"""Photograph a run's report for the documents: light, dark and on a phone.

python tools/screenshots.py runs/quickstart docs/figures
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import chromium
from PIL import Image

SHOTS = {
    "report-light": {"width": 1280, "dark": False, "tall": 1960},
    "report-dark": {"width": 1280, "dark": True, "tall": 1960},
    "report-phone": {"width": 390, "dark": False, "tall": 2300},
}
EXAMPLES = "examples-side-by-side"
MOST = 300_000  # bytes of a file


def main(arguments: Sequence[str]) -> int:
    """Write the pictures; return 2 if something is missing."""
    if len(arguments) != 2:
        print("give the folder of a run and that of the pictures", file=sys.stderr)
        return 2
    report, to = Path(arguments[0], "report.html"), Path(arguments[1])
    with chromium.page() as page:
        for name, shot in SHOTS.items():
            page.open(report, width=int(shot["width"]), dark=bool(shot["dark"]))
            _write(page.photograph(0, shot["tall"]), to / f"{name}.png")
        page.open(report)
        top = page.value(
            f"(e => e ? e.getBoundingClientRect().top + scrollY - 20 : null)(document.getElementById('{EXAMPLES}'))"
        )
        if top is not None:
            _write(page.photograph(top, 1900), to / "report-examples.png")
    return 0


def _write(png: bytes, to: Path) -> None:
    """Write a picture in 256 colours, which a page has hardly more of; raises ValueError if it is too large even so."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    if file.tell() > MOST:
        raise ValueError(f"{to}: {file.tell():,} bytes, {MOST:,} at the most; photograph less")
    to.write_bytes(file.getvalue())
    print(f"{to}: {file.tell():,} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
