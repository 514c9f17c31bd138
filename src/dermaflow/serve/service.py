"""The BentoML service; `bentoml serve` in the project's root finds it through bentofile.yaml.

It binds to 127.0.0.1 unless told otherwise (`--host`, BENTOML_HOST) and takes its port from PORT. Without
a promoted bundle it refuses to start and names the command that makes one.
"""

import ctypes
import logging
import os
import sys
from typing import Any

import bentoml
from bentoml._internal.utils.analytics.usage_stats import do_not_track

from dermaflow.errors import DermaflowError
from dermaflow.serve import champion, figures
from dermaflow.serve.app import application, warm_up
from dermaflow.serve.guard import ANSWER_SECONDS, JsonErrors, SecurityHeaders, one_line

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # else BentoML tells its makers of each start
do_not_track.cache_clear()  # asked before this file is read


def _port() -> int:
    text = os.environ.get("PORT") or "3000"
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise DermaflowError(f"{text} is no port", "PORT", "Give a number from 1 to 65535, or none for 3000.")
    return int(text)


def _to_pack(loaded: champion.Loaded) -> champion.Loaded:
    """Refuse a folder where `bentoml build` asks: a Bento would be built without it, and never start."""
    if loaded.tag is None and sys.argv[1:2] == ["build"]:
        raise DermaflowError(
            "a Bento holds the champion, not a folder", "DERMAFLOW_BUNDLE", "Unset it, then build again."
        )
    return loaded


try:
    PORT = _port()
    LOADED = _to_pack(champion.load())
    app = application(LOADED)
except DermaflowError as error:
    sys.exit(f"error: {error}")

# Else glibc keeps ever larger blocks on its heap, and bodies that grow side by side take a third more than
# they hold.
if hasattr(allocator := ctypes.CDLL(None), "mallopt"):
    allocator.mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD

logging.getLogger("bentoml.access").addFilter(one_line)


def _guarded(service: Any) -> Any:  # noqa: ANN401 - BentoML's own type
    service.add_asgi_middleware(SecurityHeaders)  # outermost: what BentoML itself answers passes too
    service.add_asgi_middleware(JsonErrors)
    return service


@_guarded
@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="dermaflow",
    http={"host": "127.0.0.1", "port": PORT},
    traffic={"timeout": ANSWER_SECONDS + 10},
    metrics={"enabled": False},  # they keep each path that anybody asks for; `/metrics` is the app's own
    workers=1,  # figures and turns are in its memory
)
class Service:
    """Three calibrated diagnoses of a dermoscopic image. Not a medical device."""

    if LOADED.tag is not None:
        model = bentoml.models.BentoModel(LOADED.tag)

    def __init__(self) -> None:
        """Open the networks in the worker, once."""
        runner = LOADED.open()
        warm_up(runner)
        app.state.runner = runner
        figures.begin(LOADED)
