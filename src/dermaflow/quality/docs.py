"""Data Docs: Great Expectations' own pages of the results, rewritten so that they open without the net.

As made, each page loads bootstrap, jQuery, vega and a logo from six hosts: unstyled without the net, and it
tells those hosts that someone looks. The tags are removed, a small style sheet is put in, and the index,
which is drawn by those scripts, is our own. Not byte-stable
(file names hold the time of the run), so never a DVC output.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dermaflow import outputs
from dermaflow.quality import page, plots
from dermaflow.quality.report import Report

_REMOTE: Final = re.compile(
    r"<script\b[^>]*>.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*\bsrc=[\"'](?:https?:)?//[^>]*>"
    r"|<(?:iframe|object|embed)\b[^>]*>(?:.*?</(?:iframe|object|embed)\s*>)?",
    re.DOTALL | re.IGNORECASE,
)
"""All scripts (those inline miss jQuery then) and links, and pictures from elsewhere."""

_IMPORTS: Final = re.compile(r"@import[^;]*;|url\([\"']?(?:https?:)?//[^)]*\)", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"""href=(["'])(?:https?:)?//.*?\1""", re.IGNORECASE | re.DOTALL)
"""Links to newsletters and manuals."""


def data_docs(
    folder: Path, report: Report, tables: Mapping[str, pd.DataFrame], facts: Mapping[str, pd.DataFrame]
) -> None:
    """Write the pages of a report's checks, pictures of the data, and the list of unreadable files, if any.

    Args:
        folder: replaced whole; `index.html` is the door, `unreadable.csv` names each file with its reason.
        report: of a run in this process.
        tables: rows of outputs.releases, a release.
        facts: rows of outputs.facts, a release.
    """
    with outputs.replacing(folder, folder=True) as scratch:
        _build(scratch, report.context)
        shutil.rmtree(scratch / "static", ignore_errors=True)
        pages = {}
        for file in sorted(scratch.rglob("*.html")):
            file.write_text(offline(file.read_text(encoding="utf-8")), encoding="utf-8")
            relative = file.relative_to(scratch)
            if relative.parts[0] == "validations":
                pages[relative.parts[1]] = relative.as_posix()
        drawn = plots.write(scratch / "plots", tables, facts)
        pictures = {title: f"plots/{file}" for title, file in drawn.items()}
        bad = _unreadable(facts)
        if len(bad):
            bad.to_csv(scratch / page.UNREADABLE, index=False)
        index = page.index(report, pages, pictures, len(bad))
        (scratch / "index.html").write_text(index, encoding="utf-8")


def _unreadable(facts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the image files that do not decode: release, image_id, file, problem.

    Args:
        facts: rows of outputs.facts, a release.
    """
    rows = [
        table.loc[~table["readable"].astype(bool), ["image_id", "file", "problem"]].assign(release=release)
        for release, table in facts.items()
    ]
    return pd.concat(rows, ignore_index=True)[["release", "image_id", "file", "problem"]]


def offline(html: str) -> str:
    """Remove what loads from the net and what needs it; put our own style in."""
    bare = _ELSEWHERE.sub("", _IMPORTS.sub("", _REMOTE.sub("", html)))
    return bare.replace("</head>", page.STYLE + "</head>", 1) if "</head>" in bare else page.STYLE + bare


def _build(folder: Path, context: Any) -> None:  # noqa: ANN401 - Great Expectations is untyped
    for site in list(context.get_site_names()):
        context.delete_data_docs_site(site)
    context.add_data_docs_site(site_name="local", site_config=_site(folder))
    context.build_data_docs(site_names=["local"])


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder.resolve()),
        },
    }
