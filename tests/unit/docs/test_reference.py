"""The tables of the reference are what the code says, and links between documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.reference import DOCS, PAGES, configuration, filled, metrics

from klag_trio.exposition.families import FAMILIES

ROOT = DOCS.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *DOCS.rglob("*.md")]
RENEW = "run: python scripts/reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_current(page: Path) -> None:
    assert page.read_text() == filled(page.read_text(), PAGES[page]()), RENEW


def test_every_family_is_in_a_table_once() -> None:
    tables = "".join(metrics().values())
    assert [family.name for family in FAMILIES if tables.count(f"| `{family.name}` |") != 1] == []


def test_a_table_tells_default_and_bounds_as_the_reader_of_the_key_does() -> None:
    rows = configuration()["exporter"].splitlines()
    assert any("| `http_port` | `8000` | a whole number from 0 to 65535 |" in row for row in rows)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("no marks", "a --> stands 0 times"),
        ("<!-- generated: a -->\n<!-- end --><!-- generated: a -->\n<!-- end -->", "a --> stands 2 times"),
        ("<!-- generated: a -->\n<!-- end --><!-- generated: b -->\n<!-- end -->", "no table called b"),
    ],
)
def test_a_page_whose_marks_do_not_fit_is_refused(page: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        filled(page, {"a": "table"})


def headings(document: Path) -> set[str]:
    """What can stand behind the # of a link to the document."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    broken = []
    for file, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", document.read_text()):
        target = document.parent / file if file else document
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(f"{file}#{anchor}")
    assert [] == broken
