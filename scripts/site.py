"""What MkDocs does besides: documents from outside of docs/ become pages, and links to them lead there.

In the repository a link such as ../CHANGELOG.md leads to the file, on the site to the page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "config.toml": "config.toml",
}
"""Where a file is in the repository, and where it is on the site."""
_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents from outside."""
    for path, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Point links between documents to where they are on the site."""
    on_site = page.file.src_uri
    in_repository = next((path for path, uri in OUTSIDE.items() if uri == on_site), f"docs/{on_site}")

    def moved(link: re.Match[str]) -> str:
        text, file, anchor = link.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), file))
        uri = OUTSIDE.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(uri) is None and (ROOT / target).exists():
            # It is in the repository and no page: the site names it, and has no address to link to.
            return text if target in text else f"{text} (`{target}`)"
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(on_site) or '.')}{anchor or ''})"

    return _LINK.sub(moved, markdown)
