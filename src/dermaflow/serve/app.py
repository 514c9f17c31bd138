"""The web app: page, `/predict`, `/explain`, `/model`, `/metrics`, their documentation.

BentoML mounts it at /.

Images and patient data live in memory for the time of one request; nothing of them is logged.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dermaflow.bundle.run import Runner
from dermaflow.errors import DataError
from dermaflow.impute.apply import Patient
from dermaflow.serve import evidence, figures, form, inference, pages
from dermaflow.serve.champion import Loaded
from dermaflow.serve.guard import (
    ANSWER_SECONDS,
    internal_error,
    known_hosts,
    refuse_foreign,
    refuse_unknown_host,
)
from dermaflow.serve.openapi import openapi
from dermaflow.serve.turnstile import GONE, Inbox, Turnstile, in_turn
from dermaflow.taxonomy import MALIGNANT, NAMES, SEXES, SITES

RUNNING = 2
"""Answers computed at the same time; ONNX Runtime spreads each over the cores."""
WAITING = 32
"""Requests that may wait for their turn; more get a 503. Bodies of MAX_BODY_BYTES at all places: 1.1 GiB."""
ARRIVING_BYTES = 16 * form.MAX_BODY_BYTES
"""Of all bodies that are arriving, 512 MiB; with those at the places bodies take 1.6 GiB at worst."""

Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    loaded: Loaded,
    runner: Runner | None = None,
    *,
    turnstile: Turnstile | None = None,
    inbox: Inbox | None = None,
) -> Starlette:
    """Build the app of one bundle; `guard.SecurityHeaders` belongs around it.

    It answers to the names that `guard.known_hosts` gives when it is built.

    Args:
        loaded: the bundle that answers.
        runner: its open networks; they may be set later as `app.state.runner`.
        turnstile: how many may work and wait.
        inbox: how much may be arriving.
    """
    shown = {
        "/model": _json(describe(loaded)),
        "/openapi.json": _json(openapi(loaded)),
        "/metrics": _metrics,
        **pages.endpoints(loaded),
    }
    app = Starlette(
        routes=[
            Route("/predict", _predict, methods=["POST"]),
            Route("/explain", _explain, methods=["POST"]),
            *(Route(path, _at_known_host(endpoint)) for path, endpoint in shown.items()),
        ],
        exception_handlers={HTTPException: _refused, 500: _failed},
    )
    app.state.hosts = known_hosts()
    app.state.loaded = loaded
    app.state.runner = runner
    app.state.turnstile = turnstile or Turnstile(RUNNING, WAITING)
    app.state.inbox = inbox or Inbox(ARRIVING_BYTES)
    return app


def warm_up(runner: Runner) -> None:
    """Answer once for a blank image, so that the first client does not wait for it."""
    inference.answer(pages.blank_png(), Patient(), runner)


def describe(loaded: Loaded) -> dict[str, Any]:
    """Return what `GET /model` says: the bundle's figures and provenance, and what a client may send."""
    bundle = loaded.bundle
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "model": dict(loaded.model),
        "notice": bundle.notice,
        "view": bundle.view.name,
        "classes": [
            {"diagnosis": code, "name": NAMES[code], "malignant": code in MALIGNANT}
            for code in bundle.view.classes
        ],
        "sexes": list(SEXES),
        "sites": list(SITES),
        "members": [member.to_json() for member in bundle.members],
        "views": bundle.views,
        "multiply_adds": bundle.multiply_adds,
        "decision": bundle.decision,
        "metrics": bundle.metrics,
        "inputs": bundle.inputs,
    }


async def _predict(request: Request) -> Response:
    start = time.perf_counter()
    answer = await _work_off(request, inference.answer)
    figures.count_answer(answer, time.perf_counter() - start)
    return JSONResponse(answer.to_json())


async def _explain(request: Request) -> Response:
    start = time.perf_counter()
    found = await _work_off(request, evidence.explain)
    figures.count_explanation(time.perf_counter() - start)
    return JSONResponse(found.to_json())


async def _metrics(_: Request) -> Response:
    return Response(await asyncio.to_thread(figures.exposed), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _work_off(request: Request, work: Callable[..., Result]) -> Result:
    """Read the form, wait for a turn and work; whoever gets nothing is counted."""
    state = request.app.state
    try:
        refuse_unknown_host(request.headers, state.hosts)
        refuse_foreign(request.headers)
        async with asyncio.timeout(ANSWER_SECONDS):
            state.turnstile.refuse_if_full()
            async with state.inbox.place(request.receive) as receive:
                sent = await form.read(Request(request.scope, receive))
            async with state.turnstile.place() as turn:
                return await in_turn(
                    turn,
                    partial(
                        work, sent.file, sent.patient, state.runner, state.loaded.model, force=sent.force
                    ),
                    request.is_disconnected,
                )
    except DataError as error:
        figures.count_refusal(400)
        raise HTTPException(400, str(error)) from None
    except HTTPException as error:
        figures.count_refusal(error.status_code)
        raise
    except ClientDisconnect:
        figures.count_refusal(GONE)
        raise HTTPException(GONE, "the client has gone") from None
    except TimeoutError:
        figures.count_refusal(504)
        raise HTTPException(504, f"no answer within {ANSWER_SECONDS:g} seconds, try again") from None
    except Exception:
        figures.count_refusal(500)
        raise


def _at_known_host(endpoint: Endpoint) -> Endpoint:
    async def answered(request: Request) -> Response:
        refuse_unknown_host(request.headers, request.app.state.hosts)
        return await endpoint(request)

    return answered


def _json(value: dict[str, Any]) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(value)

    return endpoint


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    return internal_error()
