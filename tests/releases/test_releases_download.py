"""Download against a server on this machine that cuts the connection, lies about length and answers 503."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dermaflow.errors import DataError
from dermaflow.releases import download

BODY = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves BODY; `plan` says how each request, in turn, is spoiled."""

    plan: list[str]
    asked: list[str]

    def do_GET(self):
        mode = self.plan.pop(0) if self.plan else "good"
        wanted = self.headers.get("Range")
        self.asked.append(wanted or "all")
        if mode in {"503", "404"}:
            self.send_error(int(mode))
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mode != "no range" else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        length = len(BODY) - start + (100 if mode == "long" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(BODY[start : start + 3000] if mode == "cut" else BODY[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FILES", {2018: ("table.csv",)})
    Server.plan, Server.asked = [], []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def fetch(server, to):
    return download.download(2018, to, [server], pause_s=0)


def test_a_whole_file_comes_through_and_is_not_asked_for_again(server, tmp_path):
    told = []
    download.download(2018, tmp_path, [server], lambda *args: told.append(args), pause_s=0)
    fetch(server, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == BODY
    assert Server.asked == ["all"]
    assert told[-1] == ("table.csv", len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        (["cut"], ["all", "bytes=3000-"]),
        (["503", "503"], ["all", "all", "all"]),
        (["cut", "503", "cut"], ["all", "bytes=3000-", "bytes=3000-", "bytes=6000-"]),
        (["cut", "no range"], ["all", "bytes=3000-"]),
        (["long", "good"], ["all", "bytes=10240-", "all"]),
    ],
)
def test_cuts_errors_and_lies_are_survived(server, tmp_path, plan, asked):
    Server.plan[:] = plan
    fetch(server, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == BODY
    assert Server.asked == asked
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_a_server_that_stays_down_leaves_no_half_file_under_the_name(server, tmp_path):
    Server.plan[:] = ["cut"] + ["503"] * 20
    with pytest.raises(
        DataError, match=r"table\.csv: could not be fetched: .*503.*3,000 bytes are kept.*again"
    ):
        fetch(server, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv.part"]
    Server.plan.clear()
    fetch(server, tmp_path)
    assert Server.asked[-1] == "bytes=3000-"
    assert (tmp_path / "table.csv").read_bytes() == BODY


def test_a_second_server_is_tried(server, tmp_path):
    Server.plan[:] = ["404"]
    download.download(2018, tmp_path, [server, f"{server}/mirror"], pause_s=0)
    assert (tmp_path / "table.csv").read_bytes() == BODY


def test_a_file_that_is_not_there_is_not_asked_for_six_times(server, tmp_path):
    Server.plan[:] = ["404"] * 9
    with pytest.raises(DataError, match="404"):
        fetch(server, tmp_path)
    assert len(Server.asked) == 1


def test_a_full_disk_is_found_before_the_file_is_written(server, tmp_path, monkeypatch):
    usage = download.shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="10,240 bytes do not fit on the disk"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_years_are_named(tmp_path):
    with pytest.raises(DataError, match="no release of 2017"):
        download.download(2017, tmp_path)


def test_addresses_are_the_archives_own():
    assert all(url.startswith("https://isic-challenge-data") for url in download.BASE_URLS)
    assert set(download.FILES) == {2018, 2019, 2020}
