"""The door to Data Docs: our own index of all results, failures first, with a link to each suite's page.

Great Expectations' own index is drawn by scripts from the net, so it shows nothing offline.
"""

import html
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from dermaflow.quality.report import Report, Result, describe

STYLE: Final = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; margin: 0 auto; max-width: 72rem;
  padding: 1rem 2rem; }
h1, h2, h3, h4, h5 { line-height: 1.25; margin: 1.2em 0 .4em; }
a { color: #0b5c8a; }
nav { height: auto !important; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1.2rem; }
th, td { border: 1px solid #d7dee5; padding: .35rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
td.name { white-space: nowrap; }
th { background: #eef2f6; }
tr:nth-child(even) td { background: #fafbfc; }
.modal, .card.mb-3, footer, .btn, .popover, .d-none { display: none; }
.breadcrumb { list-style: none; display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; }
figure { margin: 1rem 0 1.6rem; }
figcaption { font-weight: 600; }
img { max-width: 100%; height: auto; }
.badge, code, pre { background: #eef2f6; border-radius: .3rem; padding: .1rem .35rem; }
.text-success, .held { color: #1b7f4b; }
.text-danger, .critical { color: #b3261e; }
.text-warning, .warning { color: #8a5a00; }
.fa-check-circle::before { content: "\\2714"; }
.fa-times::before { content: "\\2716"; }
.fa-exclamation-triangle::before { content: "\\26A0"; }
.critical, .warning { font-weight: 600; }
</style>"""
"""For our index and for Great Expectations' pages alike. Those show a table's cells as they are, so nothing
on a page may run or load."""


UNREADABLE: Final = "unreadable.csv"
"""The list of unreadable files, beside the index."""


def index(report: Report, pages: Mapping[str, str], pictures: Mapping[str, str], unreadable: int) -> str:
    """Return the index page.

    Args:
        report: the results.
        pages: each suite's own page, relative to the index.
        pictures: titles of pictures to their files, relative to the index.
        unreadable: how many image files are in the list of UNREADABLE; without any there is none.
    """
    counts = report.counts
    failed = report.failed_critical + report.failed_warning
    suites = sorted({item.suite for item in report.results})
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Data quality</title>{STYLE}</head><body><h1>Data quality</h1>",
        (
            f"<p>{counts['checked']} expectations: {counts['critical_failures']} critical failures, "
            f"{counts['warnings']} warnings. A critical failure stops the pipeline.</p>"
        ),
    ]
    if failed:
        parts += ["<h2>Not as expected</h2>", _table(failed, suite=True)]
    if unreadable:
        parts.append(
            f"<p>Image files that can't be read: {unreadable:,}, "
            f"<a href='{UNREADABLE}'>each with its reason</a>.</p>"
        )
    if pictures:
        parts.append("<h2>The data at a glance</h2><p>Training rows and image files of each release.</p>")
    parts += [
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f"<img src='{quote(file)}' alt='{html.escape(title)}'></figure>"
        for title, file in pictures.items()
    ]
    for suite in suites:
        own = tuple(item for item in report.results if item.suite == suite)
        link = f" <a href='{quote(pages[suite])}'>details</a>" if suite in pages else ""
        rows = max(item.rows for item in own)
        parts += [
            f"<h2>{html.escape(suite)}</h2><p>{rows:,} rows.{link}</p>",
            _table(own, suite=False),
        ]
    return "".join([*parts, "</body></html>\n"])


def _table(items: tuple[Result, ...], *, suite: bool) -> str:
    head = "<tr>" + ("<th>Table</th>" if suite else "") + "<th>Expectation</th><th>Result</th></tr>"
    body = "".join(
        "<tr>"
        + (f"<td class='name'>{html.escape(item.suite)}</td>" if suite else "")
        + f"<td>{html.escape(item.says)}</td><td>{_verdict(item)}</td></tr>"
        for item in items
    )
    return f"<table>{head}{body}</table>"


def _verdict(item: Result) -> str:
    if item.success:
        return "<span class='held'>&#10004; holds</span>"
    return f"<span class='{item.severity}'>&#10006; {item.severity}</span> {html.escape(describe(item))}"
