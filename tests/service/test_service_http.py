"""The real `bentoml serve` over HTTP."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from starlette.testclient import TestClient

from dermaflow.impute.apply import Patient
from dermaflow.serve import inference, pages
from dermaflow.serve.guard import HEADERS, JsonErrors, SecurityHeaders
from helpers_bundle import picture
from helpers_icc import DISPLAY_P3, in_display_p3
from helpers_service import BENTOML, environment, scratch_root, serving

pytestmark = pytest.mark.slow

FOREIGN = ("torch", "timm", "pandas", "pyarrow", "sklearn", "matplotlib", "mlflow", "dvc")
OURS = ("dermaflow.params", "dermaflow.outputs", "dermaflow.tracking", "dermaflow.model", "dermaflow.train")


def ask(client, file, name="lesion.jpg", **fields):
    return client.post("/predict", files={"image": (name, file, "image/jpeg")}, data=fields)


def exif_jpeg(file):
    """Put an EXIF segment (orientation 6: turn it a quarter clockwise) behind a JPEG's first marker."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    segment = b"Exif\x00\x00" + tiff
    return file[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + file[2:]


def test_the_answer_over_http_is_what_the_networks_say(client, served, runner):
    file = picture(1, (600, 450))
    response = ask(client, file, age="55", sex="male", site="torso")
    assert response.status_code == 200
    body = response.json()
    assert body["probabilities"] == pytest.approx(
        inference.answer(file, Patient(55, "male", "torso"), runner).probabilities, abs=1e-6
    )
    assert len(body["top3"]) == 3
    keys = ("name", "version", "digest", "git_commit", "data_md5", "mlflow_run_id")
    record = served.champion.record
    assert body["model"] == {key: record[key] for key in keys} | {"digest": record["digest"][:12]}


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        (picture(), {"age": "121"}, "age must be"),
        (picture(), {"sex": "m"}, "sex must be"),
        (picture(), {"site": "arm"}, "site must be"),
        (picture(), {"agee": "55"}, "agee is no known field"),
        (b"hello", {}, "image: neither a JPEG nor a PNG image. Give a JPEG or PNG file"),
        (b"", {}, "image is missing"),
        (picture()[:-300], {}, "image: the image is truncated or damaged"),
    ],
)
def test_a_wrong_request_is_a_400_that_says_what_is_wrong(client, file, fields, said):
    response = ask(client, file, **fields)
    assert response.status_code == 400
    assert response.json()["error"].startswith(said)


def test_text_in_the_images_place_is_a_400_and_never_fetched(client, served):
    own = f"{served.address}/fetched"
    response = client.post("/predict", data={"image": own}, files={"age": (None, "55")})
    assert (response.status_code, response.json()) == (400, {"error": "image must be a file, not text"})
    assert "/fetched" not in served.log.read_text()


def test_a_request_over_the_limit_is_a_413_with_and_without_a_declared_length(client):
    large = picture() + bytes(33 * 2**20)

    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for start in range(0, len(large), 2**20):
            yield large[start : start + 2**20]

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert ask(client, large).status_code == 413
    assert client.post("/predict", content=chunks(), headers=headers).status_code == 413
    assert ask(client, picture()).status_code == 200


def test_bodies_that_arrive_side_by_side_take_no_more_memory_than_they_hold(champion, tmp_path):
    """glibc would put large ones on the heap once one was freed, where growing side by side they scatter."""
    size, count = 30 * 2**20, 6
    others = set(psutil.Process().children(recursive=True))
    with serving(champion.root, log=tmp_path / "log") as address, ExitStack() as held:
        ours = set(psutil.Process().children(recursive=True)) - others
        assert httpx.post(f"{address}/predict", files={"image": bytes(size)}).status_code == 400
        before = sum(process.memory_info().rss for process in ours)
        host, port = address.removeprefix("http://").split(":")
        head = (
            f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {size + 2**20}\r\n\r\n--x\r\n"
            'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        )
        arriving = [held.enter_context(socket.create_connection((host, int(port)))) for _ in range(count)]
        for sock in arriving:
            sock.sendall(head.encode())
        for _ in range(size // 2**16):
            for sock in arriving:
                sock.sendall(bytes(2**16))
        time.sleep(1)
        taken = sum(process.memory_info().rss for process in ours) - before
    assert taken == pytest.approx(size * count, rel=0.15)


def test_exif_turns_the_image_upright_and_does_no_harm(client, runner):
    file = picture(3, (640, 480))
    turned = ask(client, exif_jpeg(file))
    assert turned.status_code == 200
    expected = inference.answer(exif_jpeg(file), Patient(), runner).probabilities
    assert turned.json()["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert turned.json()["probabilities"] != ask(client, file).json()["probabilities"]


def test_the_colours_of_a_telephone_are_read_as_they_are_meant(client):
    def said(pixels, profile=None):
        box = io.BytesIO()
        Image.fromarray(pixels).save(box, "PNG", icc_profile=profile)
        return np.array(list(ask(client, box.getvalue()).json()["probabilities"].values()))

    rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(picture(3), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    wanted, misread = said(rgb), said(in_display_p3(rgb))
    managed = said(in_display_p3(rgb), DISPLAY_P3)
    assert np.abs(managed - wanted).max() < np.abs(misread - wanted).max() / 5


def test_a_large_photograph_is_answered_in_time(client):
    response = ask(client, picture(5, (4000, 3000)))
    assert response.status_code == 200
    assert response.json()["elapsed_ms"] < 3000


def test_requests_side_by_side_get_their_own_answers(client, runner):
    files = [picture(seed, (300, 200)) for seed in range(6)] * 5
    alone = {file: inference.answer(file, Patient(), runner).probabilities for file in set(files)}
    with ThreadPoolExecutor(12) as pool:
        for file, response in zip(files, pool.map(lambda file: ask(client, file), files), strict=True):
            assert response.status_code == 200
            assert response.json()["probabilities"] == pytest.approx(alone[file], abs=1e-6)


def test_the_first_page_is_ours_and_the_documents_stay_reachable(client):
    page = client.get("/")
    assert "Assess a dermoscopic image" in page.text
    assert "googletagmanager" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/info", "/api", "/openapi.json", "/model", "/livez", "/readyz", "/docs.json"):
        assert client.get(path).status_code == 200


def assert_guarded(response):
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert not [name for name in response.headers if name.startswith("access-control")]


BENTOML_OWN = ("/livez", "/healthz", "/readyz", "/docs.json", "/schema.json")


@pytest.mark.parametrize(
    "path", [*pages.PATHS, "/model", "/openapi.json", "/metrics", "/nowhere", "/predict", *BENTOML_OWN]
)
def test_every_response_carries_the_security_headers_and_no_cors(client, path):
    assert_guarded(client.get(path, headers={"origin": "http://elsewhere.example"}))


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/model/7", 404, "Not Found"),
        ("GET", "/predict", 405, "Method Not Allowed"),
        ("POST", "/livez", 405, "Method Not Allowed"),
    ],
)
def test_an_address_that_is_not_there_is_said_in_json(client, method, path, status, said):
    response = client.request(method, path)
    assert (response.status_code, response.json()) == (status, {"error": said})
    assert ("allow" in response.headers) == (status == 405)


def test_only_what_tells_nothing_answers_under_a_name_that_is_not_ours(client):
    def asked(host):
        page = client.get("/", headers={"host": host})
        assert_guarded(page)
        answer = client.post("/predict", files={"image": picture()}, headers={"host": host})
        health = [client.get(path, headers={"host": host}) for path in ("/livez", "/readyz", "/healthz")]
        return page.status_code, answer.status_code, {response.status_code for response in health}

    assert asked("evil.example") == (421, 421, {200})
    assert asked("clinic.example") == (200, 200, {200})


FRAGILE = """
from dermaflow.serve import inference
from dermaflow.serve.service import Service

whole = inference.answer

def answer(file, *rest, **options):
    if file == b"break":
        raise RuntimeError("secret")
    return whole(file, *rest, **options)

inference.answer = answer
"""


def test_an_unforeseen_error_is_a_500_in_json_with_the_security_headers_and_is_counted(champion, tmp_path):
    (tmp_path / "fragile.py").write_text(FRAGILE)
    shutil.copy(champion.root / "champion.json", tmp_path)
    with serving(champion.root, "fragile:Service", cwd=tmp_path, log=tmp_path / "log") as address:
        response = httpx.post(f"{address}/predict", files={"image": b"break"}, timeout=30, trust_env=False)
        figures = httpx.get(f"{address}/metrics", timeout=30, trust_env=False).text
    assert_guarded(response)
    assert (response.status_code, response.json()) == (500, {"error": "internal error; the log says where"})
    assert re.search(r'dermaflow_refusals_total\{.*status="500"\} 1.0', figures)


def test_an_error_of_bentomls_own_is_a_500_in_json_too():
    def broken(scope, receive, send):
        raise RuntimeError("secret")

    client = TestClient(SecurityHeaders(JsonErrors(broken)), raise_server_exceptions=False)
    response = client.get("/metrics")
    assert_guarded(response)
    assert (response.status_code, response.json()) == (500, {"error": "internal error; the log says where"})


def test_our_figures_are_among_the_metrics(client, served):
    ask(client, picture())
    ask(client, b"x")
    text = client.get("/metrics").text
    digest = served.champion.record["digest"][:12]
    (row,) = re.findall(r"dermaflow_model_info\{(.*)\} 1.0", text)
    assert {'name="tiny-demo"', 'version="7"', f'digest="{digest}"'} <= set(row.split(","))
    assert "pid=" not in row  # else a row a worker
    assert re.search(r'dermaflow_answers_total\{.*diagnosis="', text)
    assert re.search(r'dermaflow_refusals_total\{.*status="400"', text)
    assert "dermaflow_predict_seconds_count" in text
    assert not list(served.champion.root.rglob("*.db")), "figures in files: a full disk would end the worker"


def test_what_strangers_ask_for_leaves_no_trace_in_the_metrics(client):
    ask(client, picture())
    before = client.get("/metrics").text.splitlines()
    for number in range(50):
        assert client.get(f"/stranger-{number}").status_code == 404
        assert client.post(f"/livez/stranger-{number}").status_code == 404
    client.request(f"STRANGER-{number}", "/")
    client.get("/", headers={"host": "stranger"})
    after = client.get("/metrics")
    assert after.headers["content-type"].startswith("text/plain; version=")
    assert "stranger" not in after.text.lower()
    assert len(after.text.splitlines()) == len(before)


def test_another_server_of_the_same_store_leaves_our_figures_alone(client, served, bundle_folder, tmp_path):
    def answers():
        return sum(
            map(float, re.findall(r"dermaflow_answers_total\{.*\} (\S+)", client.get("/metrics").text))
        )

    ask(client, picture())
    before = answers()
    root, port = served.champion.root, served.address.rpartition(":")[2]
    with serving(root, log=tmp_path / "log", DERMAFLOW_BUNDLE=str(bundle_folder)):
        assert answers() == before
    same_port = subprocess.run(
        [BENTOML, "serve"], cwd=root, env=environment(root, PORT=port), check=False, timeout=120
    )
    assert same_port.returncode != 0
    ask(client, picture())
    assert answers() == before + 1


def test_onnx_runtime_keeps_no_record_to_send_to_its_makers(served, bundle_folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    ours = {"DERMAFLOW_BUNDLE": str(bundle_folder), "HOME": str(home), "ORT_DISABLE_TELEMETRY": None}
    with serving(served.champion.root, log=tmp_path / "log", **ours) as address:
        asked = httpx.post(f"{address}/predict", files={"image": picture()}, timeout=30, trust_env=False)
        assert asked.status_code == 200
    kept = [file.name for file in home.rglob("*") if "microsoft" in str(file).lower() or "onnx" in file.name]
    assert kept == []


def test_nothing_is_computed_for_clients_that_have_gone(client, served):
    def gone():
        return sum(
            map(float, re.findall(r'refusals_total\{status="499"\} (\S+)', client.get("/metrics").text))
        )

    before = gone()
    request = client.build_request("POST", "/explain", files={"image": picture(1, (4000, 3000))})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "connection")
    sent = f"POST /explain HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    host, port = served.address.removeprefix("http://").split(":")
    for _ in range(12):
        with socket.create_connection((host, int(port)), timeout=30) as opened:
            opened.sendall(sent)
    assert ask(client, picture()).status_code == 200
    for _ in range(100):
        if gone() >= before + 6:  # two at work, and those that had a turn before their end was seen
            break
        time.sleep(0.2)
    else:
        pytest.fail(f"{gone() - before} of 12 were seen to have gone")


def test_an_address_with_a_slash_more_leads_nowhere(client):
    for path in ("/predict/", "/info/"):
        for host in ("evil.example", "localhost"):
            response = client.post(path, headers={"host": host}, files={"image": picture()})
            assert_guarded(response)
            assert (response.status_code, response.json()) == (404, {"error": "Not Found"})
            assert "location" not in response.headers


def test_what_strangers_ask_for_stays_on_one_line_of_the_log(client, served):
    client.get("/x%0a2026-01-01%20forged%1b%5b31m%c3%a9")
    line = r"/x\n2026-01-01 forged\x1b[31m\xe9"
    end = time.monotonic() + 10
    while line not in (log := served.log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)  # it is written after the answer
    assert line in log
    assert "\n2026-01-01 forged" not in log
    assert "\x1b" not in log


def test_a_charset_that_there_is_not_is_a_400(client):
    body = b'--B\r\nContent-Disposition: form-data; name="age"\r\n\r\n5\r\n--B--\r\n'
    kind = "multipart/form-data; boundary=B; charset=undefined"
    response = client.post("/predict", content=body, headers={"content-type": kind})
    assert response.status_code == 400
    assert response.json()["error"].startswith("the form can't be read")


def test_serving_reports_its_use_to_nobody(served, bundle_folder, tmp_path):
    """In this mode BentoML logs what it would send, and sends nothing."""
    listening = {"__BENTOML_DEBUG_USAGE": "True", "BENTOML_DO_NOT_TRACK": None}
    bundle = {"DERMAFLOW_BUNDLE": str(bundle_folder)}
    with serving(served.champion.root, log=tmp_path / "ours", **listening, **bundle):
        pass
    assert "Tracking Payload" not in (tmp_path / "ours").read_text()
    listening["BENTOML_DO_NOT_TRACK"] = "False"  # someone's own choice stays
    with serving(served.champion.root, log=tmp_path / "theirs", **listening, **bundle):
        pass
    assert "Tracking Payload" in (tmp_path / "theirs").read_text()


def test_the_log_holds_nothing_of_image_or_patient(client, served):
    ask(client, picture(), name="jane-doe.jpg", age="47.125", site="palms/soles")
    ask(client, b"x", name="jane-doe.jpg", age="48.125")
    log = served.log.read_text()
    assert "path=/predict" in log
    for secret in ("jane-doe", "47.125", "48.125", "palms"):
        assert secret not in log


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_the_service_listens_on_the_loopback_address_only(served):
    port = f"{int(served.address.rpartition(':')[2]):04X}"
    tables = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for line in tables.splitlines()]
    listening = [row[1].split(":") for row in rows if row[3] == "0A"]
    assert [address for address, found in listening if found == port] == ["0100007F"]


@pytest.mark.parametrize("port", ["abc", "0", "-1", "65536", "3000.5"])
def test_a_port_that_is_none_is_said_in_one_line(tmp_path, bundle_folder, port):
    done = subprocess.run(
        [sys.executable, "-c", "import dermaflow.serve.service"],
        cwd=tmp_path,
        env=environment(scratch_root(tmp_path), PORT=port, DERMAFLOW_BUNDLE=str(bundle_folder)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = f"error: PORT: {port} is no port. Give a number from 1 to 65535, or none for 3000.\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_without_a_champion_the_server_refuses_to_start_in_one_line(tmp_path):
    root = scratch_root(tmp_path)
    done = subprocess.run(
        [BENTOML, "serve"],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: champion.json: no model is promoted")
    assert "make repro" in done.stderr
    assert "dermaflow models promote" in done.stderr
    assert "DERMAFLOW_BUNDLE=" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_challenger_is_served_from_its_folder(tmp_path, bundle_folder, runner):
    root = scratch_root(tmp_path / "root")
    with serving(root, log=tmp_path / "log", DERMAFLOW_BUNDLE=str(bundle_folder)) as address:
        response = httpx.post(
            f"{address}/predict", files={"image": ("a.jpg", picture())}, timeout=30, trust_env=False
        )
    assert response.json()["model"]["version"] == f"unpromoted:{runner.bundle.digest[:12]}"


def test_the_service_needs_none_of_the_training_packages(tmp_path, bundle_folder):
    code = "import json, sys, dermaflow.serve.service; print(json.dumps(sorted(sys.modules)))"
    env = environment(scratch_root(tmp_path), DERMAFLOW_BUNDLE=str(bundle_folder))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert "dermaflow.serve.app" in loaded
    assert loaded & {*FOREIGN, *OURS} == set()
