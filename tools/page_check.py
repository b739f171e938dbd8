"""Open pages that fedtap wrote in a headless Chromium, and say what is wrong with them: a line a page, and one a fault.

    python tools/page_check.py runs/quickstart/report.html

Looked at on a wide screen and on a phone, light and dark: errors on the console, contrast (WCAG 2 AA), text alternatives, tables
that sort, links that jump, and whether a page is wider than its screen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromium

SCREENS = ((1280, 900), (390, 844))
SCRIPT = Path(__file__).with_name("page_check.js")


def look(page: chromium.Page, path: Path | str) -> dict[str, Any]:
    """Return the faults of a page (a file, or an address) on all screens, and how much was tried of it on the last."""
    faults: list[str] = []
    tried: dict[str, Any] = {}
    for width, height in SCREENS:
        for dark in (False, True):
            page.open(path, width=width, height=height, dark=dark)
            tried = page.value(SCRIPT.read_text(encoding="utf-8"))
            found = [*tried.pop("faults"), *(f"console: {line}" for line in page.said)]
            faults += [f"{width} px, {'dark' if dark else 'light'}: {fault}" for fault in found]
    return {"faults": faults, **tried}


def main(paths: Sequence[str]) -> int:
    """Look at pages; return 1 if any has a fault."""
    bad = False
    with chromium.page() as page:
        for path in paths:
            found = look(page, Path(path))
            bad = bad or bool(found["faults"])
            tried = f"{found['figures']} figures, {found['sorted']} columns sorted, {found['jumped']} links followed"
            print(f"{path}: {tried}" + "".join(f"\n  {fault}" for fault in found["faults"]))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
