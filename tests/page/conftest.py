"""The real page: the app behind a real server, in a real browser."""

import asyncio
import os
import shutil
import socket
import threading
import time

import pytest
import uvicorn

from dermaflow.serve import champion
from dermaflow.serve.app import application
from dermaflow.serve.guard import SecurityHeaders
from helpers_bundle import tiny_bundle

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    tiny_bundle(folder)
    return champion.load(folder)


@pytest.fixture(scope="module")
def address(loaded):
    """The app on a free loopback port, in a thread of its own."""
    app = SecurityHeaders(application(loaded, loaded.open(threads=1)))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium():
    """A chromium: CHROMIUM, or the one on the path.

    Ends with the module: Playwright's event loop would forbid other tests to start theirs.
    """
    from playwright.sync_api import sync_playwright

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not binary:
        pytest.skip("no chromium on the path; set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=FLAGS)
        yield browser
        browser.close()


class Watch:
    """What a page asked for and complained of."""

    def __init__(self, context):
        self.requests, self.complaints = [], []
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("console", self.note)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def note(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture
def context(request, chromium):
    """A fresh browser context; options come through `pytest.mark.parametrize(..., indirect=True)`."""
    opened = chromium.new_context(**getattr(request, "param", {"viewport": {"width": 1280, "height": 900}}))
    opened.set_default_timeout(15_000)
    opened.watch = Watch(opened)
    yield opened
    opened.close()


@pytest.fixture
def page(context, address):
    opened = context.new_page()
    opened.goto(address)
    return opened
