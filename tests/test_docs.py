"""Documentation: no page that nothing leads to, no link that leads nowhere."""

import re
from pathlib import Path

from tests.support.daemons import ROOT

LINK = re.compile(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)")


def links(page: Path) -> set[Path]:
    found = LINK.findall(page.read_text())
    return {(page.parent / target).resolve() for target in found}


def pages() -> set[Path]:
    return {ROOT / "README.md", *(ROOT / "docs").rglob("*.md")}


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in pages():
        missing = [str(target) for target in links(page) if not target.exists()]
        assert missing == [], page


def test_every_page_can_be_found_from_the_readme() -> None:
    found, coming = set[Path](), {ROOT / "README.md"}
    while coming:
        page = coming.pop()
        found.add(page)
        coming |= {p for p in links(page) if p.exists()} - found
    assert sorted(map(str, pages() - found)) == []


def test_the_map_of_the_house_shows_each_file_that_stands_alone() -> None:
    told = (ROOT / "docs" / "design.md").read_text()
    rooms = [*(ROOT / "enforcement").glob("*.py"), *(ROOT / "node").glob("*.py")]
    paths = [path.relative_to(ROOT) for path in rooms if path.name != "__init__.py"]
    assert [str(path) for path in paths if f"| `{path}` |" not in told] == []
