"""Download against a server on this machine that cuts the connection, lies and answers 503."""

import base64
import hashlib
import io
import random
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from dermaflow import cli
from dermaflow.errors import DataError
from dermaflow.releases import checksums, download

BODY = bytes(range(256)) * 40
OTHER = bytes(reversed(BODY))


class Server(BaseHTTPRequestHandler):
    """Serves `body`; `plan` says how each GET, in turn, is spoiled; `says` are headers of every answer."""

    plan: list[str]
    asked: list[str]
    heads: int
    says: dict[str, str]
    body: bytes

    def do_GET(self):
        mode = self.plan.pop(0) if self.plan else "good"
        wanted = self.headers.get("Range")
        self.asked.append(wanted or "all")
        if mode in {"503", "404", "busy"}:
            self.refuse(int(mode.replace("busy", "503")), {"Retry-After": "0"} if mode == "busy" else {})
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mode != "no range" else 0
        body = OTHER if mode == "other" else self.body
        if wanted and start >= len(body):
            self.refuse(416, {} if mode == "bare" else {"Content-Range": f"bytes */{len(body)}"})
            return
        if mode == "elsewhere":
            start += 1
        part = start > 0
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        wrong = {"long": 100, "short": -100}.get(mode, 0)
        self.send_header("Content-Length", str(len(body) - start + wrong))
        self.state(whole=not part)
        self.wfile.write(
            body[start : start + 3000] if mode == "cut" else body[start:][: -100 if wrong < 0 else None]
        )

    def do_HEAD(self):
        type(self).heads += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.state(whole=True)

    def state(self, *, whole):
        for name, value in self.says.items():
            if whole or name in {"ETag", "Server"}:
                self.send_header(name, value)
        self.end_headers()

    def refuse(self, code, headers):
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FILES", {2018: ("table.csv",)})
    Server.plan, Server.asked, Server.heads, Server.says, Server.body = [], [], 0, {}, BODY
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def zips(server, monkeypatch):
    monkeypatch.setattr(download, "FILES", {2018: ("images.zip",)})
    Server.body = made_zip()
    return server


def made_zip(members=3):
    box = io.BytesIO()
    noise = random.Random(1)
    with zipfile.ZipFile(box, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number}.jpg", noise.randbytes(4000))
    return box.getvalue()


def fetch(server, to, **options):
    return download.download(2018, to, [server], pause_s=0, **options)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


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
        (["long", "good"], ["all", f"bytes={len(made_zip())}-"]),
        (["long", "bare", "good"], ["all", f"bytes={len(made_zip())}-", "all"]),
        (["busy", "busy"], ["all", "all", "all"]),
        (["cut", "elsewhere"], ["all", "bytes=3000-", "all"]),
        (["cut"] * 3, ["all", "bytes=3000-", "bytes=6000-", "bytes=9000-"]),
    ],
)
def test_cuts_errors_and_lies_are_survived(zips, tmp_path, plan, asked):
    Server.plan[:] = plan
    fetch(zips, tmp_path)
    assert (tmp_path / "images.zip").read_bytes() == Server.body
    assert Server.asked == asked
    assert names(tmp_path) == ["SHA256SUMS", "images.zip"]


def test_a_server_that_stays_down_leaves_no_half_file_under_the_name(zips, tmp_path):
    Server.plan[:] = ["cut"] + ["503"] * 20
    with pytest.raises(
        DataError, match=r"images\.zip: could not be fetched: .*503.*3,000 bytes are kept.*again"
    ):
        fetch(zips, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["images.zip.part"]
    Server.plan.clear()
    fetch(zips, tmp_path)
    assert Server.asked[-1] == "bytes=3000-"
    assert (tmp_path / "images.zip").read_bytes() == Server.body


def test_a_table_is_never_put_together_of_two_versions(server, tmp_path):
    Server.body = OTHER
    Server.plan[:] = ["cut"]
    (tmp_path / "table.csv.part").write_bytes(BODY[:3000])
    fetch(server, tmp_path)
    assert Server.asked == ["all", "all"]
    assert (tmp_path / "table.csv").read_bytes() == OTHER


def test_a_server_that_misreads_what_is_asked_is_asked_for_the_whole_next(zips, tmp_path):
    (tmp_path / "images.zip.part").write_bytes(Server.body[:40])
    Server.plan[:] = ["elsewhere"]
    fetch(zips, tmp_path)
    assert Server.asked == ["bytes=40-", "all"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\n<!doctype html><title>Log in</title>", "a web page"),
        (b"", "empty"),
        (b"\x1f\x8b\x08packed", "packed by gzip"),
        (b"PK\x03\x04", "a zip"),
    ],
)
def test_what_is_no_table_does_not_get_its_name(server, tmp_path, body, said):
    Server.body = body
    with pytest.raises(DataError, match=f"it is no table but {said}"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    Server.body = BODY
    fetch(server, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == BODY


def test_what_the_disk_refuses_is_said_at_once(zips, tmp_path):
    (tmp_path / "images.zip.part").mkdir()
    with pytest.raises(DataError, match=r"images\.zip: it can't be written: Is a directory\. Make room"):
        download.download(2018, tmp_path, [zips], pause_s=3)
    (tmp_path / "images.zip.part").rmdir()
    (tmp_path / "SHA256SUMS.part").mkdir()
    with pytest.raises(DataError, match="it can't be written"):
        download.download(2018, tmp_path, [zips], pause_s=3)
    assert len(Server.asked) == 2
    (tmp_path / "SHA256SUMS.part").rmdir()
    fetch(zips, tmp_path)
    assert len(Server.asked) == 2


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
    assert all(url.startswith("https://isic-") and ".s3.amazonaws.com" in url for url in download.BASE_URLS)
    assert set(download.FILES) == {2018, 2019, 2020}


def test_more_cuts_than_tries_are_survived_as_long_as_each_brings_more(zips, tmp_path):
    Server.body = made_zip(13)
    Server.plan[:] = ["cut"] * 17
    fetch(zips, tmp_path)
    assert (tmp_path / "images.zip").read_bytes() == Server.body
    assert download.TRIES < 17


@pytest.mark.parametrize("name", ["table.csv", "images.zip"])
def test_a_server_that_always_promises_too_much_is_given_up(server, tmp_path, monkeypatch, name):
    monkeypatch.setattr(download, "FILES", {2018: (name,)})
    Server.plan[:] = ["long", "bare" if name.endswith("zip") else "long"] * 50
    with pytest.raises(DataError, match=rf"{name}: could not be fetched"):
        fetch(server, tmp_path)
    assert len(Server.asked) <= 2 * download.TRIES
    assert name not in names(tmp_path)


def test_a_mirror_that_is_no_web_address_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'file:///etc' is no web address"):
        download.download(2018, tmp_path, ["file:///etc"])


# What the server states


def b64(name, body=BODY):
    return base64.b64encode(hashlib.new(name, body).digest()).decode()


def md5(body=BODY):
    return hashlib.md5(body).hexdigest()


S3 = {"Server": "AmazonS3"}
STATED = {
    "Content-MD5": ({"Content-MD5": b64("md5")}, "md5 as the server states"),
    "sha256": ({"x-amz-checksum-sha256": b64("sha256")}, "sha256 as the server states"),
    "ETag": ({"ETag": f'"{md5()}"', **S3}, "md5 as the server states (ETag)"),
    "ETag elsewhere": ({"ETag": f'"{md5()}"'}, "md5 as the server states (ETag)"),
}
WRONG = {
    "Content-MD5": (
        {"Content-MD5": b64("md5", OTHER)},
        f"its md5 is {md5()}, the server states {md5(OTHER)}",
    ),
    "sha256": ({"x-amz-checksum-sha256": b64("sha256", OTHER)}, "its sha256 is .*, the server states"),
    "ETag": ({"ETag": f'"{md5(OTHER)}"', **S3}, rf"the server states {md5(OTHER)} \(ETag\)"),
}
NOTHING = {
    "none": {},
    "an ETag that is no MD5": {"ETag": '"5f3c2a-27b0"'},
    "an ETag of another server's making": {"ETag": f'"{md5(OTHER)}"'},
    "an ETag of an encrypted object": {
        "ETag": f'"{md5(OTHER)}"', "x-amz-server-side-encryption": "aws:kms", **S3,
    },
    "a checksum of parts": {"x-amz-checksum-sha256": b64("sha256", OTHER) + "-3"},
    "parts of unknown size": {"ETag": f'"{md5(OTHER)}-3"', **S3},
}  # fmt: skip


@pytest.mark.parametrize("kind", STATED)
def test_a_file_that_fits_what_the_server_states_is_taken_and_it_is_said(server, tmp_path, kind):
    Server.says, how = STATED[kind]
    assert fetch(server, tmp_path)[0].how == how
    assert f"# {len(BODY)} bytes, {how}\n" in (tmp_path / "SHA256SUMS").read_text()


@pytest.mark.parametrize("kind", STATED)
def test_after_a_cut_the_whole_file_is_compared_too(zips, tmp_path, kind):
    Server.body = BODY
    Server.says, how = STATED[kind]
    Server.plan[:] = ["cut"]
    assert fetch(zips, tmp_path)[0].how == how
    assert Server.asked == ["all", "bytes=3000-"]


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_checksum_leaves_nothing_under_the_name_and_is_tried_twice(server, tmp_path, kind):
    Server.says, message = WRONG[kind]
    with pytest.raises(DataError, match=message):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    assert Server.asked == ["all", "all"]


def test_bytes_that_were_spoilt_on_the_way_are_fetched_again(server, tmp_path):
    Server.says = STATED["Content-MD5"][0]
    Server.plan[:] = ["other"]
    fetch(server, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == BODY


@pytest.mark.parametrize("kind", ["Content-MD5", "ETag"])
def test_a_length_that_is_stated_too_short_is_found_by_the_checksum(server, tmp_path, kind):
    Server.says = STATED[kind][0]
    Server.plan[:] = ["short"]
    fetch(server, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == BODY


@pytest.mark.parametrize("kind", NOTHING)
def test_where_nothing_can_be_compared_it_is_said(server, tmp_path, kind):
    Server.says = NOTHING[kind]
    assert fetch(server, tmp_path)[0].how == "length only: the server states no checksum that can be compared"


def test_a_zip_is_read_through_where_the_server_states_nothing(zips, tmp_path):
    how = fetch(zips, tmp_path)[0].how
    assert how == "CRC of each of 3 files inside; the server states no checksum that can be compared"
    assert (tmp_path / "images.zip").read_bytes() == Server.body


@pytest.mark.parametrize("damage", ["one byte", "cut off", "no zip"])
def test_a_damaged_zip_never_gets_its_name(zips, tmp_path, damage):
    whole = made_zip()
    Server.body = {
        "one byte": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
        "cut off": whole[:9000],
        "no zip": BODY,
    }[damage]
    with pytest.raises(
        DataError, match=r"images\.zip: .*(the CRC of 1\.jpg inside is wrong|it is no whole zip)"
    ):
        fetch(zips, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("part_mib", [5, 8, 15, 16])
def test_an_etag_of_parts_is_worked_out_from_the_usual_part_sizes(tmp_path, part_mib):
    body = random.Random(2).randbytes(17 * checksums.MIB + 12345)
    size = part_mib * checksums.MIB
    parts = [hashlib.md5(body[at : at + size]).digest() for at in range(0, len(body), size)]
    etag = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    path = tmp_path / "big.csv"
    path.write_bytes(body)
    said = checksums.stated({"etag": f'"{etag}"', "server": "AmazonS3"}, len(body), whole=True)
    assert checksums.check(path, said).how == f"md5 of parts of {size:,} bytes as the server states (ETag)"
    path.write_bytes(body[:-1] + b"x")
    assert checksums.check(path, said).how.startswith("length only")


def test_an_etag_of_one_part_is_worked_out(tmp_path):
    path = tmp_path / "small.csv"
    path.write_bytes(BODY)
    etag = f"{hashlib.md5(hashlib.md5(BODY).digest()).hexdigest()}-1"
    said = checksums.stated({"etag": etag}, len(BODY), whole=True)
    assert "as the server states (ETag)" in checksums.check(path, said).how


# What is there already


def test_sums_are_in_the_form_of_sha256sum(server, tmp_path):
    fetch(server, tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "table.csv: OK\n"


def test_lines_of_other_files_stay(tmp_path):
    for name in ("b.zip", "a.csv"):
        checksums.record(tmp_path, name, checksums.Checked("0" * 64, 7, "length only"))
    checksums.record(tmp_path, "b.zip", checksums.Checked("1" * 64, 8, "md5"))
    assert list(checksums.recorded(tmp_path)) == ["a.csv", "b.zip"]
    assert checksums.recorded(tmp_path)["b.zip"].size == 8


def test_lines_that_others_wrote_stay_too(tmp_path):
    (tmp_path / "SHA256SUMS").write_text(f"{'a' * 64}  mine.zip\n")
    for name in ("x.csv", "y.csv"):
        checksums.record(tmp_path, name, checksums.Checked("0" * 64, 7, "length only"))
    assert list(checksums.recorded(tmp_path)) == ["x.csv", "y.csv"]
    assert (tmp_path / "SHA256SUMS").read_text().count(f"{'a' * 64}  mine.zip\n") == 1


def test_lines_that_are_not_utf8_stay_too(tmp_path):
    line = b"a" * 64 + b"  m\xfcller.zip\n"
    (tmp_path / "SHA256SUMS").write_bytes(line)
    checksums.record(tmp_path, "x.csv", checksums.Checked("0" * 64, 7, "length only"))
    assert list(checksums.recorded(tmp_path)) == ["x.csv"]
    assert (tmp_path / "SHA256SUMS").read_bytes().endswith(line)


def test_a_file_of_another_length_than_recorded_is_refused_and_left(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "table.csv").write_bytes(BODY[:-1])
    with pytest.raises(DataError, match=r"it has 10,239 bytes, SHA256SUMS says 10,240\. Remove it"):
        fetch(server, tmp_path)
    assert (tmp_path / "table.csv").exists()
    assert Server.asked == ["all"]


def test_other_bytes_of_the_same_length_are_found_when_asked(server, tmp_path):
    fetch(server, tmp_path)
    assert fetch(server, tmp_path, verify=True)[0].how == "sha256 as in SHA256SUMS"
    (tmp_path / "table.csv").write_bytes(OTHER)
    found = fetch(server, tmp_path)[0]
    assert (found.how, found.new) == ("length as in SHA256SUMS", False)
    with pytest.raises(DataError, match=r"its sha256 is .*, SHA256SUMS says"):
        fetch(server, tmp_path, verify=True)


def test_a_file_from_elsewhere_is_held_against_the_server_once(server, tmp_path):
    Server.says = STATED["ETag"][0]
    (tmp_path / "table.csv").write_bytes(BODY)
    assert fetch(server, tmp_path)[0].how == "md5 as the server states (ETag)"
    fetch(server, tmp_path)
    assert (Server.asked, Server.heads) == ([], 1)
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / "table.csv").write_bytes(OTHER)
    with pytest.raises(DataError, match=r"table\.csv: its md5 is .*Remove it"):
        fetch(server, tmp_path)


def test_a_file_from_elsewhere_without_a_server_is_taken_for_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FILES", {2018: ("table.csv",)})
    (tmp_path / "table.csv").write_bytes(BODY)
    how = fetch("http://127.0.0.1:9", tmp_path)[0].how
    assert how == "nothing: no server says anything of it"


def test_what_no_server_was_asked_of_is_asked_again(server, tmp_path):
    (tmp_path / "table.csv").write_bytes(BODY[: len(BODY) // 2])
    fetch("http://127.0.0.1:9", tmp_path)
    assert names(tmp_path) == ["table.csv"]  # nothing is recorded
    with pytest.raises(DataError, match="it has 5,120 bytes, the server states 10,240"):
        fetch(server, tmp_path)


# The command


def test_the_command_says_what_was_checked_and_takes_a_mirror(server, tmp_path):
    Server.says = STATED["sha256"][0]
    words = ["data", "download", "--year", "2018", "--to", str(tmp_path), "--mirror", server]
    shown = CliRunner().invoke(cli.app, words)
    assert shown.exit_code == 0
    assert "table.csv: 10,240 bytes; sha256 as the server states" in shown.stdout
    assert shown.stderr == ""  # no bar where nobody looks
    again = CliRunner().invoke(cli.app, [*words, "--verify"])
    assert "table.csv: 10,240 bytes, was there; sha256 as in SHA256SUMS" in again.stdout


def test_the_bar_moves_on_a_terminal(capsys, monkeypatch):
    from dermaflow.cli.data import _Bar

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with _Bar() as bar:
        for have in (10, 60, 100):
            bar("one.zip", have, 100)
        bar("two.zip", 5, None)
    shown = capsys.readouterr().err
    assert "one.zip: 100%" in shown
    assert "two.zip" in shown
