"""What pages show is run as it stands: the marked blocks of each page, in order, in one empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from docs.pages import MARK, PAGES, ROOT, commands, marked
from e2e.conftest import Command

WITH_BLOCKS = [page for page in PAGES if MARK in page.read_text(encoding="utf-8")]


def test_every_mark_stands_before_a_block() -> None:
    for page in WITH_BLOCKS:
        assert page.read_text(encoding="utf-8").count(MARK) == len(marked(page)), page
    assert {page.name for page in WITH_BLOCKS} >= {"README.md", "first-ten-minutes.md"}


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fedtap: Command, no_report: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in marked(page):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, page.name, "exec"), {"__name__": "__main__"})
        else:
            assert block.language == "console", block
            for command in commands(block.text):
                words = shlex.split(command)
                assert words[0] == "fedtap", command
                done = fedtap(*words[1:])
                assert done.code == 0, f"{command}: {done.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        there = page if not path else page.parent / path
        assert there.exists(), link
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in headings}, link


def test_the_site_has_every_page() -> None:
    named = set(re.findall(r"^\s+- ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    written = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert named - {"index.md", "commands.md", "changelog.md"} <= written
    assert written <= named


def test_every_event_that_is_written_is_on_the_page() -> None:
    """An event is a mapping with a key `event`; of those that are made elsewhere a list is kept here."""
    page = (ROOT / "docs" / "files-and-events.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`([a-z_]+)`", page))
    told = {"data", "personalised", "clipped", "left_out"}
    within = {"ended", "gone", "rounds", "timing"}  # between a study and its processes; of no run
    for path in sorted((ROOT / "src").rglob("*.py")):
        told |= set(re.findall(r'"event": "([a-z_]+)"', path.read_text(encoding="utf-8")))
    assert told - within <= known
