"""The web app in-process: the contract, each refusal, the limits, the pages."""

import asyncio
import json
import re
import socket
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from dermaflow.errors import DataError, DermaflowError
from dermaflow.impute.apply import Patient
from dermaflow.serve import app, champion, evidence, figures, form, inference, pages
from dermaflow.serve.app import application
from dermaflow.serve.figures import REGISTRY
from dermaflow.serve.guard import CONTENT_SECURITY_POLICY
from dermaflow.serve.turnstile import GONE, LEAST_BYTES, Inbox, Turnstile, in_turn
from dermaflow.taxonomy import SEXES, SITES
from helpers_bundle import other_thing, picture, tiny_bundle


def counted():
    """All our figures: name and labels to value."""
    families = REGISTRY.collect()
    samples = [sample for family in families for sample in family.samples if "dermaflow" in sample.name]
    return Figures({(s.name, *sorted(s.labels.items())): s.value for s in samples})


class Figures(dict):
    def __sub__(self, before):
        return Figures({key: value - before.get(key, 0) for key, value in self.items()})


def total(figures, name, **labels):
    return sum(
        value
        for (found, *held), value in figures.items()
        if found == f"dermaflow_{name}" and set(labels.items()) <= set(held)
    )


def ask(client, file, path="/predict", **fields):
    return client.post(path, files={"image": ("lesion.jpg", file, "image/jpeg")}, data=fields)


def test_the_answer_is_the_contracts(client, runners, loaded, jpeg):
    response = ask(client, jpeg, age="55", sex="male", site="torso")
    assert response.status_code == 200
    body = response.json()
    expected = inference.answer(jpeg, Patient(55, "male", "torso"), runners["nine"], loaded["nine"].model)
    assert body.pop("elapsed_ms") > 0
    assert body == {key: value for key, value in expected.to_json().items() if key != "elapsed_ms"}
    assert set(body) == {
        "top3", "probabilities", "melanoma_probability", "malignant_probability", "decision", "abstained",
        "ood_score", "imputed", "filled_in", "model", "notice",
    }  # fmt: skip
    assert set(body["model"]) == {"name", "version", "digest", "git_commit", "data_md5", "mlflow_run_id"}
    assert body["model"]["name"] == "tiny-demo"
    assert body["model"]["digest"] == loaded["nine"].bundle.digest[:12]
    assert body["abstained"] is None
    assert body["ood_score"] < 1
    assert body["imputed"] == []


def test_an_image_of_something_else_gets_no_probabilities_unless_they_are_asked_for(client):
    declined = ask(client, other_thing()).json()
    assert declined["ood_score"] > 1
    assert declined["abstained"].startswith("This image is unlike")
    assert (declined["top3"], declined["probabilities"]) == ([], {})
    assert declined["melanoma_probability"] is declined["malignant_probability"] is None
    assert declined["decision"]["refer"] is None
    assert declined["decision"]["prediction_set"] == []
    forced = ask(client, other_thing(), force="true").json()
    assert forced["abstained"] == declined["abstained"]
    assert len(forced["top3"]) == 3
    assert sum(forced["probabilities"].values()) == pytest.approx(1)
    assert forced["decision"]["refer"] in (True, False)
    assert ask(client, other_thing(), force="false").json()["top3"] == []


def test_an_image_that_was_declined_and_forced_is_counted_once_by_those_that_are_not_forced(client, jpeg):
    before = counted()
    ask(client, jpeg, sex="male")
    ask(client, other_thing(), age="55", sex="male", site="torso")
    ask(client, other_thing(), age="55", sex="male", site="torso", force="true")
    new = counted() - before
    assert total(new, "abstentions_total", forced="false") == 1
    assert total(new, "answers_total", forced="false") == 1
    assert total(new, "abstentions_total", forced="true") == total(new, "answers_total", forced="true") == 1


def test_scores_probabilities_and_missing_fields_are_counted_for_drift(client, jpeg):
    before = counted()
    answer = ask(client, jpeg, sex="male").json()
    declined = ask(client, other_thing()).json()
    new = counted() - before
    scores = answer["ood_score"], declined["ood_score"]
    assert total(new, "ood_score_sum") == pytest.approx(sum(scores))
    assert total(new, "ood_score_bucket", le="1.0") == 1
    assert total(new, "malignant_probability_count") == 1
    assert total(new, "malignant_probability_sum") == pytest.approx(answer["malignant_probability"])
    assert [total(new, "imputed_total", field=field) for field in ("age", "sex", "site")] == [2, 1, 2]


def test_a_request_without_an_answer_is_counted_by_its_status(loaded, jpeg):
    def broken(*_):
        raise RuntimeError

    broken.bundle = loaded["nine"].bundle
    broken.pixels = broken
    fragile = TestClient(application(loaded["nine"], broken), raise_server_exceptions=False)
    before = counted()
    for file in (jpeg, b""):
        ask(fragile, file)
    new = counted() - before
    assert {status: total(new, "refusals_total", status=status) for status in ("400", "500")} == {
        "400": 1,
        "500": 1,
    }


def test_what_never_happened_stands_in_the_metrics_as_a_naught(client, loaded):
    """To Prometheus a row that is not there is no naught: the share of declined images has no value."""
    figures.ABSTENTIONS.clear()
    figures.REFUSALS.clear()
    figures.ANSWERS.clear()
    figures.IMPUTED.clear()
    figures.begin(loaded["nine"])
    text = client.get("/metrics").text
    for forced in ("true", "false"):
        assert f'dermaflow_abstentions_total{{forced="{forced}"}} 0.0' in text
        assert f'dermaflow_answers_total{{diagnosis="MEL",forced="{forced}"}} 0.0' in text
        assert f'dermaflow_imputed_total{{field="age",forced="{forced}"}} 0.0' in text
        assert f'dermaflow_ood_score_count{{forced="{forced}"}}' in text
    for status in ("400", "499", "503"):
        assert f'dermaflow_refusals_total{{status="{status}"}} 0.0' in text


def test_the_metrics_are_in_prometheus_text_format(client, jpeg):
    from prometheus_client.parser import text_string_to_metric_families

    ask(client, jpeg)
    shown = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert {"dermaflow_answers", "dermaflow_predict_seconds", "dermaflow_imputed"} <= shown


def test_an_answer_that_takes_too_long_is_a_504(loaded, jpeg, monkeypatch):
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0.05)
    go = threading.Event()

    class Slow:
        bundle = loaded["nine"].bundle

        def pixels(self, files):
            go.wait(20)
            raise DataError("done", "image", "Go.")

    before = counted()
    with TestClient(application(loaded["nine"], Slow())) as client:
        response = ask(client, jpeg)
        go.set()
    assert (response.status_code, response.json()) == (
        504,
        {"error": "no answer within 0.05 seconds, try again"},
    )
    assert total(counted() - before, "refusals_total", status="504") == 1


def test_an_explanation_has_a_map_of_each_class_and_the_answers_provenance(client, runners, jpeg):
    fields = {"age": "55", "sex": "male", "site": "torso"}
    answer, found = ask(client, jpeg, **fields).json(), ask(client, jpeg, "/explain", **fields).json()
    assert set(found) == {"seen_png", "maps", "abstained", "model", "notice", "elapsed_ms"}
    assert (found["model"], found["notice"]) == (answer["model"], answer["notice"])
    expected = evidence.explain(jpeg, Patient(55, "male", "torso"), runners["nine"]).maps
    assert found["maps"] == {code: one.round(4).tolist() for code, one in expected.items()}
    assert found["maps"] != ask(client, jpeg, "/explain", age="5").json()["maps"]
    declined = ask(client, other_thing(), "/explain").json()
    assert declined["maps"] == {}
    assert declined["abstained"].startswith("This image is unlike")
    assert ask(client, other_thing(), "/explain", force="true").json()["maps"]


def test_an_explanation_is_counted_for_itself_and_not_as_an_answer(client, jpeg):
    before = counted()
    ask(client, jpeg, "/explain")
    ask(client, b"x", "/explain")
    new = counted() - before
    assert total(new, "explain_seconds_count") == 1
    assert total(new, "refusals_total", status="400") == 1
    assert not any(total(new, name) for name in ("predict_seconds_count", "answers_total", "imputed_total"))


def test_an_explanation_is_refused_like_an_answer(client, jpeg):
    assert ask(client, b"x", "/explain").json() == ask(client, b"x").json()
    assert ask(client, jpeg, "/explain", age="old").status_code == 400
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert client.post("/explain", files={"image": ("a.jpg", jpeg)}, headers=elsewhere).status_code == 403
    assert client.get("/explain").status_code == 405


def test_an_empty_or_absent_field_is_missing(client, jpeg):
    empty = ask(client, jpeg, age="", sex=" ", site="").json()
    absent = ask(client, jpeg).json()
    assert empty["imputed"] == ["age", "sex", "site"]
    assert empty["probabilities"] == absent["probabilities"]


@pytest.mark.parametrize(
    "age", ["0", "120", " 55 ", "55.5", "55.3347022587269", "0.08333333333333333", ".5", "1e1"]
)
def test_ages_in_range_are_taken(client, jpeg, age):
    assert ask(client, jpeg, age=age).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", "-1"), ("age", "120.1"), ("age", "121"), ("age", "nan"), ("age", "inf"), ("age", "1e3"),
        ("age", "1e"), ("age", "5_5"), ("age", "\N{ARABIC-INDIC DIGIT FIVE}"), ("age", "old"),
        ("age", "0x20"), ("sex", "Male"), ("sex", "m"), ("sex", "unknown"),
        ("site", "arm"), ("site", "anterior torso"), ("site", "2"), ("site", "\N{SNOWMAN}"),
        ("force", "yes"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_a_400_that_names_the_field(client, jpeg, field, value):
    response = ask(client, jpeg, **{field: value})
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{field} must be")


def test_an_unknown_field_is_a_400_that_names_it(client, jpeg):
    response = ask(client, jpeg, agee="55")
    assert (response.status_code, response.json()["error"][:4]) == (400, "agee")


def test_a_field_in_the_address_is_a_400_also_beside_a_whole_form(client, jpeg):
    for address in ("/predict?age=55", "/predict?age=", "/predict?anything"):
        response = client.post(address, files={"image": ("lesion.jpg", jpeg)}, data={"sex": "male"})
        said = "fields in the address are not read: send fields in the form"
        assert (response.status_code, response.json()) == (400, {"error": said})


@pytest.mark.parametrize("end", ["", "\r\n--x", "\r\n--x-", "\r\n--x\r\n"])
def test_a_form_without_its_closing_boundary_is_a_400(client, jpeg, end):
    """Its last field would be lost, and with it the patient's age."""

    def send(end):
        parts = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + jpeg
        parts += b'\r\n--x\r\nContent-Disposition: form-data; name="age"\r\n\r\n55' + end.encode()
        headers = {"content-type": "multipart/form-data; boundary=x"}
        return client.post("/predict", content=parts, headers=headers)

    response = send(end)
    said = "the form ends early: send it whole, with its closing boundary"
    assert (response.status_code, response.json()) == (400, {"error": said})
    for whole in ("\r\n--x--", "\r\n--x--\r\n", "\r\n--x--\r\nepilogue"):
        assert send(whole).json()["imputed"] == ["sex", "site"]


def test_a_field_given_twice_is_a_400(client, jpeg):
    response = ask(client, jpeg, age=["55", "56"])
    assert (response.status_code, response.json()) == (400, {"error": "age is given more than once"})


def test_two_images_are_a_400(client, jpeg):
    response = client.post("/predict", files=[("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))])
    assert (response.status_code, response.json()) == (400, {"error": "image is given more than once"})


def test_text_in_the_images_place_is_a_400_and_never_fetched(client):
    response = client.post("/predict", data={"image": "http://127.0.0.1:9/a.jpg"}, files={"age": (None, "5")})
    assert (response.status_code, response.json()) == (400, {"error": "image must be a file, not text"})


def test_a_file_in_a_text_fields_place_is_a_400(client, jpeg):
    response = client.post("/predict", files={"image": ("a.jpg", jpeg), "age": ("age.txt", b"55")})
    assert (response.status_code, response.json()) == (400, {"error": "age must be text, not a file"})


@pytest.mark.parametrize("files", [{"image": ("a.jpg", b"")}, {"age": (None, "55")}])
def test_no_image_is_a_400(client, files):
    response = client.post("/predict", files=files)
    assert response.status_code == 400
    assert response.json()["error"].startswith("image is missing")


@pytest.mark.parametrize(
    "file", [b"hello", b"GIF89a" + bytes(50), b"<svg/>", b"PK\x03\x04", picture()[:-200]]
)
def test_what_is_no_whole_jpeg_or_png_is_a_400(client, file):
    response = ask(client, file)
    assert response.status_code == 400
    assert response.json()["error"].startswith("image: ")


def test_a_pixel_bomb_is_a_400(client):
    """A header that claims 40000 x 40000 pixels."""
    png = bytearray(picture(0, extension=".png"))
    png[16:24] = (40000).to_bytes(4) + (40000).to_bytes(4)
    response = ask(client, bytes(png))
    assert response.status_code == 400
    assert "40000 x 40000" in response.json()["error"]


def test_another_content_type_is_a_415(client, jpeg):
    assert client.post("/predict", content=jpeg, headers={"content-type": "image/jpeg"}).status_code == 415
    assert client.post("/predict", data={"image": "x"}).status_code == 415


@pytest.mark.parametrize(
    "body",
    [b"", b"--x", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", b"\xff\xfe"],
)
def test_a_broken_form_is_a_400(client, body):
    response = client.post(
        "/predict", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code == 400
    assert set(response.json()) == {"error"}


def test_a_form_without_a_boundary_is_a_400(client):
    response = client.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert response.status_code == 400


def test_a_long_text_field_is_a_400(client, jpeg):
    """Such as the image itself, as `curl -F 'image=<lesion.jpg'` sends it."""
    said = {"error": "a text field is longer than 256 bytes; send image as a file"}
    assert ask(client, jpeg, age="5" * 1000).json() == said
    response = client.post("/predict", files={"image": (None, jpeg)})
    assert (response.status_code, response.json()) == (400, said)


def test_a_body_over_the_limit_is_a_413(client, monkeypatch, jpeg):
    monkeypatch.setattr(form, "MAX_BODY_BYTES", len(jpeg))
    assert ask(client, jpeg).status_code == 413


def test_a_body_of_undeclared_length_over_the_limit_is_a_413(client, monkeypatch):
    monkeypatch.setattr(form, "MAX_BODY_BYTES", 1000)

    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(20):
            yield bytes(100)

    response = client.post(
        "/predict", content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code == 413


def test_uploads_stay_in_memory(client, monkeypatch):
    """Nothing is written, even for an image that the usual parser would spool to a disk."""

    def refuse(*_, **__):
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "_mkstemp_inner", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    response = ask(client, picture(1, (1500, 1200), ".png") + bytes(3_000_000))
    assert response.status_code == 200


async def send_and_hold_on(app, body, then=None):
    """Send the beginning of a form and no more, or `then`; the status that comes back."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks, statuses = [body, head], []

    async def receive():
        if not chunks and then:
            return then
        if not chunks:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunks.pop(), "more_body": True}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"", "http_version": "1.1",
        "headers": [(b"host", b"testserver"), (b"content-type", b"multipart/form-data; boundary=x")],
    }  # fmt: skip
    await app(scope, receive, send)
    return statuses[0]


def test_a_slow_client_gets_a_408(loaded, runners, monkeypatch):
    monkeypatch.setattr(form, "BODY_SECONDS", 0.05)
    app = application(loaded["nine"], runners["nine"])
    assert asyncio.run(send_and_hold_on(app, b"")) == 408


def test_who_leaves_while_the_image_arrives_is_counted_as_gone_not_as_wrong(client, loaded, runners):
    def count(status):
        name = f'dermaflow_refusals_total{{status="{status}"}} '
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(name))

    before = count(400), count(GONE)
    app = application(loaded["nine"], runners["nine"])
    assert asyncio.run(send_and_hold_on(app, b"", {"type": "http.disconnect"})) == GONE
    assert (count(400), count(GONE)) == (before[0], before[1] + 1)


def beside_those_who_hold_on(app, bodies, jpeg):
    """The status of someone who sends a whole form after them, and of those of them who were given up."""

    async def scene():
        held = [asyncio.create_task(send_and_hold_on(app, body)) for body in bodies]
        await asyncio.sleep(0.05)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            status = (await ask(client, jpeg)).status_code
        given_up = [task.result() if task.done() else None for task in held]
        for task in held:
            task.cancel()
        return status, given_up

    return asyncio.run(scene())


def test_those_who_send_a_little_and_hold_on_lock_nobody_out(loaded, runners, jpeg):
    many = 3 * (app.RUNNING + app.WAITING)
    shown = beside_those_who_hold_on(application(loaded["nine"], runners["nine"]), [b""] * many, jpeg)
    assert shown == (200, [None] * many)


def test_those_who_send_much_and_hold_on_make_room_the_oldest_first_and_are_counted(loaded, runners, jpeg):
    narrow = application(loaded["nine"], runners["nine"], inbox=Inbox(3 * 2**20))
    bodies = [b"", bytes(2**20), bytes(2**20), bytes(2**20)]
    before = counted()
    assert beside_those_who_hold_on(narrow, bodies, jpeg) == (200, [503, 503, None, None])
    assert total(counted() - before, "refusals_total", status="503") == 2


def test_bodies_that_arrive_are_bounded_in_bytes_and_in_number():
    most = []

    async def scene():
        inbox = Inbox(10 * LEAST_BYTES)

        async def chunk():
            await asyncio.sleep(0)
            return {"type": "http.request", "body": bytes(LEAST_BYTES), "more_body": True}

        async def visit(chunks):
            async with inbox.place(chunk) as receive:
                for _ in range(chunks):
                    await receive()
                    most.append((inbox._bytes, len(inbox._bodies)))
                await asyncio.sleep(0.05)

        visits = await asyncio.gather(*(visit(number % 3) for number in range(40)), return_exceptions=True)
        return [getattr(refused, "status_code", None) for refused in visits], inbox._bytes

    statuses, left = asyncio.run(scene())
    assert set(statuses) == {None, 503}
    assert max(held for held, _ in most) <= 10 * LEAST_BYTES
    assert max(bodies for _, bodies in most) == 10
    assert left == 0


def test_over_the_places_a_request_gets_a_503_with_retry_after(loaded, runners, jpeg):
    full = TestClient(application(loaded["nine"], runners["nine"], turnstile=Turnstile(0, 0)))
    response = ask(full, jpeg)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_place_is_given_back_also_after_a_refusal(loaded, runners, jpeg):
    narrow = TestClient(application(loaded["nine"], runners["nine"], turnstile=Turnstile(1, 0)))
    assert [ask(narrow, file).status_code for file in (b"x", b"y", jpeg, jpeg)] == [400, 400, 200, 200]


def test_the_turnstile_lets_as_many_work_and_wait_as_told():
    async def scene():
        turnstile, working, most, refused = Turnstile(2, 3), 0, 0, 0

        async def visit():
            nonlocal working, most, refused
            try:
                async with turnstile.place() as turn, turn:
                    working += 1
                    most = max(most, working)
                    await asyncio.sleep(0.01)
                    working -= 1
            except HTTPException:
                refused += 1

        await asyncio.gather(*(visit() for _ in range(9)))
        return most, refused

    assert asyncio.run(scene()) == (2, 4)


def test_a_turn_ends_with_the_work_and_not_with_the_request(loaded):
    """A timeout cancels the request, never its thread."""
    begun, go, at_work = threading.Semaphore(0), threading.Event(), []

    class Slow:
        bundle = loaded["nine"].bundle

        def pixels(self, files):
            at_work.append(1)
            begun.release()
            go.wait(20)
            at_work.pop()
            raise DataError("done", "image", "Go.")

    async def scene():
        app = application(loaded["nine"], Slow(), turnstile=Turnstile(1, 9))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            first, second = (asyncio.create_task(ask(client, b"x")) for _ in range(2))
            await asyncio.to_thread(begun.acquire)
            first.cancel()
            await asyncio.sleep(0.2)
            working = len(at_work)
            go.set()
            return working, (await second).json()

    assert asyncio.run(scene()) == (1, {"error": "image: done. Go."})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://testserver:81"},
        {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
        {"origin": "http://elsewhere.example"},
        {"origin": "http://testserver:81"},
        {"origin": "http://testserver.example"},
        {"origin": "null"},
    ],
)
def test_what_a_page_from_elsewhere_sends_is_a_403(client, jpeg, headers):
    client.headers.update(headers)
    response = ask(client, jpeg)
    assert response.status_code == 403
    assert response.json()["error"].startswith("the request comes from a page of another address")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin", "origin": "http://testserver"},
        {"sec-fetch-site": "same-origin", "origin": "https://clinic.example"},
        {"sec-fetch-site": "none"},
        {"origin": "http://testserver"},
        {"origin": "https://testserver"},
        {"origin": "https://Clinic.example:8443", "host": "clinic.example:8443"},
    ],
)
def test_its_own_page_is_answered_also_behind_a_proxy_that_ends_tls(client, jpeg, headers):
    client.headers.update(headers)
    assert ask(client, jpeg).status_code == 200


UNKNOWN = ["evil.example", "evil.example:80", "x.testserver", "127.0.0.1.evil.example", "[evil.example]", ""]


@pytest.mark.parametrize("host", UNKNOWN)
def test_a_name_that_leads_here_and_is_not_ours_gets_a_421_that_says_the_remedy(client, jpeg, host):
    """DNS rebinding: to the browser the page is of the same origin."""
    client.headers.update(
        {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"},
    )
    before = counted()
    asked = [ask(client, jpeg), ask(client, jpeg, "/explain")]
    asked += [client.get(path) for path in (*pages.PATHS, "/model", "/openapi.json", "/metrics")]
    for response in asked:
        assert response.status_code == 421
        assert "name the host in DERMAFLOW_HOSTS where the service is started" in response.json()["error"]
    assert total(counted() - before, "refusals_total", status="421") == 2


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:3000", "127.0.0.1:3000", "192.168.0.7", "[::1]", "[2001:db8::7]:3000",
        "testserver:81", "clinic.example", "CLINIC.example:443", socket.gethostname(),
    ],
)  # fmt: skip
def test_it_answers_under_an_ip_address_its_own_names_and_those_that_it_is_told(client, host):
    assert client.get("/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(("told", "status"), [("*", 200), ("a.example,*", 200), ("", 421), (" , ", 421)])
def test_a_star_allows_every_name(loaded, monkeypatch, told, status):
    monkeypatch.setenv("DERMAFLOW_HOSTS", told)
    everybodys = TestClient(application(loaded["nine"]))
    for host in UNKNOWN:
        assert everybodys.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    "wrong",
    [
        "https://clinic.example", "a.example, *.clinic.example", "clinic.example/derm", ".clinic.example",
        "clinic.example derm.example", "clinic.example;derm.example", "clinic.example.", "é.clinic.example",
    ],
)  # fmt: skip
def test_what_can_match_no_host_is_refused_at_the_start(loaded, monkeypatch, wrong):
    monkeypatch.setenv("DERMAFLOW_HOSTS", wrong)
    with pytest.raises(DermaflowError, match=r"^DERMAFLOW_HOSTS: .*clinic\.example.* is no host's name"):
        application(loaded["nine"])


def test_answers_of_requests_side_by_side_are_not_mixed_up(client, runners):
    from concurrent.futures import ThreadPoolExecutor

    files = [picture(seed) for seed in range(8)] * 3
    alone = {file: inference.answer(file, Patient(), runners["nine"]).probabilities for file in set(files)}
    with ThreadPoolExecutor(8) as pool:
        for file, response in zip(files, pool.map(lambda file: ask(client, file), files), strict=True):
            assert response.json()["probabilities"] == alone[file]


def test_an_unforeseen_error_is_a_500_without_a_word_of_the_request(loaded, jpeg):
    def broken(*_):
        raise RuntimeError("secret")

    broken.bundle = loaded["nine"].bundle
    broken.pixels = lambda files: broken()
    fragile = TestClient(application(loaded["nine"], broken), raise_server_exceptions=False)
    response = ask(fragile, jpeg)
    assert response.status_code == 500
    assert "secret" not in response.text


def test_the_policy_allows_nothing_inline_and_nothing_foreign():
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


@pytest.mark.parametrize("name", sorted(set(pages.PATHS.values())))
def test_the_pages_need_nothing_inline_and_nothing_from_elsewhere(name):
    text = (pages.HOME / name).read_text()
    links = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?([^"')\s>]+)""", text)
    assert [link for link in links if re.match(r"(https?:)?//", link)] == []
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", text)
    assert "$" + "{" not in text or name.endswith(".js")


@pytest.mark.parametrize("path", ["/", "/info", "/api"])
def test_every_page_links_only_to_what_exists_and_says_what_it_is_not(client, path):
    text = client.get(path).text
    bentoml_own = {"livez", "readyz"}
    for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)) - bentoml_own:
        target, _, anchor = link.partition("#")
        page = client.get(target or path)
        assert page.status_code == 200, link
        assert not anchor or f'id="{anchor}"' in page.text
    assert "Not a medical device" in text
    assert "Random networks. They prove nothing." in text


def test_the_page_offers_the_sites_and_sexes_of_the_taxonomy(client):
    text = client.get("/").text
    offered = re.findall(r'<option value="([^"]+)"', text)
    assert offered == [*SEXES, *SITES]
    assert text.count("<label") == 6  # image, age, sex, site


@pytest.mark.parametrize("view", ["nine", "isic2018"])
def test_model_and_documents_follow_the_view(loaded, runners, view):
    client = TestClient(application(loaded[view], runners[view]))
    classes = list(loaded[view].bundle.view.classes)
    model = client.get("/model").json()
    assert [entry["diagnosis"] for entry in model["classes"]] == classes
    assert model["digest"] == loaded[view].bundle.digest
    answer = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]
    assert answer["properties"]["probabilities"]["anyOf"][0]["required"] == classes
    assert all(f"<td>{code}</td>" in client.get("/api").text for code in classes)


def test_the_information_page_says_of_other_things_what_the_bundle_does(loaded, tmp_path):
    tiny_bundle(tmp_path, detector=False)
    blind = champion.load(tmp_path)
    for one, said in ((loaded["nine"], "it declines"), (blind, "still answers")):
        text = TestClient(application(one, one.open(threads=1))).get("/info").text
        assert said in text
        assert ("it declines" in text) != ("still answers" in text)


def test_the_answer_fits_our_own_openapi(client, jpeg):
    import jsonschema

    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    jsonschema.validate(ask(client, jpeg).json(), schemas["Answer"])
    for force in ("true", "false"):
        jsonschema.validate(ask(client, other_thing(), force=force).json(), schemas["Answer"])
        jsonschema.validate(ask(client, other_thing(), "/explain", force=force).json(), schemas["Evidence"])
    jsonschema.validate(ask(client, b"x").json(), schemas["Error"])
    broken = {**ask(client, jpeg).json(), "melanoma_probability": 1.5}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schemas["Answer"])
    documented = set(document["paths"]["/predict"]["post"]["responses"])
    assert documented == set(document["paths"]["/explain"]["post"]["responses"])
    assert documented == {"200", "400", "403", "408", "413", "415", "421", "500", "503", "504"}
    assert set(document["paths"]["/model"]["get"]["responses"]) == {"200", "421"}
    page = client.get("/api").text
    assert {status for status in documented if f"<td>{status}</td>" in page} == documented - {"200"}


def test_predict_takes_post_only(client):
    response = client.get("/predict")
    assert response.status_code == 405
    assert set(response.json()) == {"error"}


def test_what_stands_in_the_bundle_is_escaped_on_the_page(loaded):
    from dataclasses import replace

    hostile = replace(
        loaded["nine"], bundle=replace(loaded["nine"].bundle, notice="<script>alert(1)</script>")
    )
    text = TestClient(application(hostile)).get("/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_the_bento_names_packages_as_pyproject_does():
    import tomllib

    import yaml

    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    ours = {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    bento = yaml.safe_load((root / "bentofile.yaml").read_text())
    assert set(bento["python"]["packages"]) <= ours
    assert set(project["optional-dependencies"]["serve"]) <= set(bento["python"]["packages"])
    assert json.dumps(bento).count("index") == 0


@pytest.mark.parametrize("left", [True, False])
def test_a_turn_that_nobody_waits_for_any_more_is_handed_on(left):
    done = []

    async def gone():
        return left

    async def ask():
        turn = asyncio.Semaphore(1)
        refused = pytest.raises(HTTPException, check=lambda error: error.status_code == GONE)
        with refused if left else nullcontext():
            await in_turn(turn, lambda: done.append("worked"), gone)
        assert not turn.locked()

    asyncio.run(ask())
    assert done == ([] if left else ["worked"])
