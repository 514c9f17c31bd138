"""The page's files, read once and filled from taxonomy and bundle, so that page and service can't differ."""

import html
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Final

import cv2
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from dermaflow.serve.champion import Loaded
from dermaflow.serve.evidence import TILES
from dermaflow.serve.form import MAX_AGE_YEARS, MAX_BODY_BYTES
from dermaflow.serve.openapi import REFUSALS
from dermaflow.taxonomy import MALIGNANT, NAMES, SEXES, SITES

HOME: Final = Path(__file__).parent / "page"
PATHS: Final = {
    "/": "index.html",
    "/info": "info.html",
    "/api": "api.html",
    "/style.css": "style.css",
    "/app.js": "app.js",
    "/icon.svg": "icon.svg",
}
"""Each address and its file in page/."""
OTHER_THINGS: Final = {
    True: "An image that is plainly something else (a face, a cat, a page of text) it declines. A rash, a "
    "wound or an unknown growth seen through a dermatoscope may pass, and then gets one of these names.",
    False: "Shown a rash, an eye or a cat, it still answers with one of them.",
}
"""What the page says of them, by whether the bundle can tell."""


def endpoints(loaded: Loaded) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """Return what answers at each address of PATHS."""
    values = _values(loaded)
    return {path: _file(HOME / name, values) for path, name in PATHS.items()}


def blank_png() -> bytes:
    """A small grey image, for the pass that warms the networks up."""
    return bytes(cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1])


def _file(source: Path, values: dict[str, str]) -> Callable[[Request], Awaitable[Response]]:
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".html":
        text = Template(text).substitute(values)
    kind = mimetypes.guess_type(source.name)[0] or "text/plain"

    async def endpoint(_: Request) -> Response:
        return Response(text, media_type=kind)

    return endpoint


def _values(loaded: Loaded) -> dict[str, str]:
    """What the HTML files may name as $key; the values are safe to stand in HTML."""
    classes = loaded.bundle.view.classes
    return {
        "notice": html.escape(loaded.bundle.notice),
        "version": html.escape(f"{loaded.bundle.name} {loaded.model['version']}"),
        "sexes": "".join(_option(sex) for sex in SEXES),
        "sites": "".join(_option(site) for site in SITES),
        "sex_words": ", ".join(SEXES),
        "site_words": ", ".join(SITES),
        "other_things": OTHER_THINGS[loaded.bundle.ood_sha256 is not None],
        "max_age": str(MAX_AGE_YEARS),
        "tiles": str(TILES),
        "max_mb": str(MAX_BODY_BYTES // 2**20),
        "refusals": "".join(f"<tr><td>{code}</td><td>{text}</td></tr>" for code, text in REFUSALS.items()),
        "classes": "".join(
            f"<tr><td>{code}</td><td>{html.escape(NAMES[code])}</td>"
            f"<td>{'malignant or a precursor' if code in MALIGNANT else 'benign'}</td></tr>"
            for code in classes
        ),
    }


def _option(value: str) -> str:
    return f'<option value="{html.escape(value)}">{html.escape(value.capitalize())}</option>'
