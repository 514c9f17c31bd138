"""The page in a real browser: upload, answer, errors, keyboard, phone, print; nothing from elsewhere."""

import re

import numpy as np
import pytest

from dermaflow.impute.apply import Patient
from dermaflow.serve import inference
from dermaflow.serve.evidence import explain
from dermaflow.taxonomy import NAMES
from helpers_bundle import NOTICE, other_thing, picture

pytestmark = pytest.mark.slow

PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
NARROW = {"viewport": {"width": 320, "height": 640}}

OUTSIDE = """nodes => nodes.filter((node) => {
    if (!node.getClientRects().length || node.closest(".scroll, .status.done, #evidence-state")) return false;
    return node.getBoundingClientRect().right > node.closest(".card").getBoundingClientRect().right + 0.5;
}).map((node) => node.outerHTML.slice(0, 60))"""
"""What runs out of its card; a wide table scrolls within its own frame."""


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "lesion.jpg"
    file.write_bytes(picture(1, (600, 450)))
    return file


def assess(page, image, age="", sex="", site=""):
    page.set_input_files("#image", image)
    page.fill("#age", age)
    page.select_option("#sex", sex)
    page.select_option("#site", site)
    page.click("#assess")
    page.wait_for_selector("#answer:visible")


def bars(page):
    """Name and width, percent of the track, of each bar."""
    return page.eval_on_selector_all(
        ".bar-item",
        """items => items.map(item => [
            item.querySelector(".bar-name").textContent,
            item.querySelector(".bar-value").textContent,
            100 * item.querySelector(".bar-fill").getBoundingClientRect().width
                / item.querySelector(".bar-track").getBoundingClientRect().width,
        ])""",
    )


def test_an_uploaded_image_is_answered_with_three_diagnoses(page, context, address, image, loaded):
    assess(page, image, "55", "male", "torso")
    expected = inference.answer(image.read_bytes(), Patient(55, "male", "torso"), loaded.open())
    shown = bars(page)
    assert [name for name, _, _ in shown] == [NAMES[code] for code, _ in expected.top3]
    for (_, text, width), (_, probability) in zip(shown, expected.top3, strict=True):
        assert float(text.removesuffix("\N{NO-BREAK SPACE}%")) == pytest.approx(100 * probability, abs=0.06)
        assert width == pytest.approx(100 * probability, abs=1)
    assert page.inner_text("#melanoma").startswith(f"{100 * expected.probabilities['MEL']:.1f}")
    assert page.inner_text("#malignant").startswith(f"{100 * expected.malignant_probability:.1f}")
    assert context.watch.complaints == []
    assert {
        url for url in context.watch.requests if not url.startswith((address, f"blob:{address}"))
    } == set()


def test_behind_a_proxys_prefix_all_of_it_works(context, address, image):
    def strip(route):
        route.fulfill(response=route.fetch(url=route.request.url.replace("/derm/", "/")))

    context.route(f"{address}/derm/**", strip)
    page = context.new_page()
    page.goto(f"{address}/derm/")
    assess(page, image)
    page.wait_for_selector("#evidence:visible")
    for link in ("text=About melanoma", "text=API", "text=Assess"):
        page.click(link)
        page.wait_for_load_state("networkidle")
        asked = page.eval_on_selector_all(
            "[href], [src]", "nodes => nodes.map(node => node.href || node.src)"
        )
        assert [url for url in asked if not url.startswith(f"{address}/derm/")] == []
    context.unroute_all(behavior="wait")  # else one that is at work falls on the next test
    assert page.url == f"{address}/derm/"
    inside = (f"{address}/derm/", f"blob:{address}")
    assert [url for url in context.watch.requests if not url.startswith(inside)] == []
    assert context.watch.complaints == []


def test_the_result_says_what_was_filled_in_who_answers_and_what_it_is_not(page, image, loaded):
    assess(page, image, sex="female")
    imputer = loaded.bundle.imputer
    assert page.inner_text("#imputed").endswith(
        f": age ({round(imputer.age_years, 1):g} years), body site ({imputer.site})."
    )
    result = page.inner_text("#result")
    assert loaded.model["version"] in result
    assert re.search(r"\d ms", result)
    assert "Not a medical device." in result
    assert NOTICE in result
    plain = result.replace("\N{NO-BREAK SPACE}", " ")
    assert "sensitivity of 95 %" in plain
    assert "set aside for the test it found 83.3 % (95 % interval 60 % to 100 %)." in plain


def test_an_image_of_something_else_is_declined_until_the_probabilities_are_asked_for(
    page, context, tmp_path, image
):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(other_thing())
    assess(page, sheet)
    assert page.inner_text("#abstained-why").startswith("No diagnosis is given. This image is unlike")
    assert page.inner_text("#status").startswith("No diagnosis.")
    for hidden in ("#findings", "#imputed", "#details"):
        assert page.is_hidden(hidden)
    page.click("#force")
    page.wait_for_selector("#findings:visible")
    assert len(bars(page)) == 3
    assert page.inner_text("#abstained-why").startswith("This image is unlike")
    assert page.is_hidden("#force")
    assess(page, image)
    assert page.is_hidden("#abstained")
    assert page.is_visible("#findings")
    assert context.watch.complaints == []


SHOWN = """async () => {
    const image = document.getElementById("subject-image");
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""


def test_the_diagnoses_of_the_prediction_set_are_named(page, image, loaded):
    assess(page, image, "55", "male", "torso")
    answer = inference.answer(image.read_bytes(), Patient(55, "male", "torso"), loaded.open())
    names = "; ".join(NAMES[code] for code in answer.prediction_set)
    assert page.inner_text("#set").startswith(f"Prediction set: {names}. ")


INK = "document.getElementById('map').toDataURL()"


def test_the_evidence_is_drawn_over_what_the_networks_see_for_each_of_the_three(page, context, image, loaded):
    assess(page, image, "55", "male", "torso")
    page.wait_for_selector("#evidence:visible")
    runner, patient = loaded.open(), Patient(55, "male", "torso")
    top3 = inference.answer(image.read_bytes(), patient, runner).top3
    names = [NAMES[code] for code, _ in top3]
    map_ = explain(image.read_bytes(), patient, runner).maps[top3[0][0]]
    largest = map_.flat[np.abs(map_).argmax()]
    changed = f"{'divided' if largest > 0 else 'multiplied'} by {np.exp(abs(largest)):.2g}."
    assert f"the odds of {names[0]} are {changed}" in page.inner_text("#map-words")
    assert page.locator("#map-choice label").all_inner_texts() == [f" {name}" for name in names]
    assert f"evidence for {names[0]}: " in page.get_attribute("#map", "aria-label")
    first = page.evaluate(INK)
    page.locator("#map-choice input").nth(1).check()
    assert f"evidence for {names[1]}: " in page.get_attribute("#map", "aria-label")
    second = page.evaluate(INK)
    assert first != second
    page.locator("#strength").fill("0")
    plain = page.evaluate(INK)
    assert plain != second
    page.locator("#map-choice input").nth(0).check()
    assert page.evaluate(INK) == plain
    assert context.watch.complaints == []


BLANK = f"{INK} === Object.assign(document.createElement('canvas'), {{width: 480, height: 480}}).toDataURL()"


def test_clear_leaves_no_pixel_of_the_image(page, image):
    assess(page, image)
    page.wait_for_selector("#evidence:visible")
    assert not page.evaluate(BLANK)
    page.click("#clear")
    page.wait_for_selector("#answer", state="hidden")
    assert page.evaluate(BLANK)
    assert page.get_attribute("#subject-image", "src") is None
    assert page.locator("#map-choice input").count() == 0


def test_a_browser_that_can_draw_no_evidence_shows_none_and_not_that_of_the_image_before(
    page, context, image, tmp_path
):
    page.evaluate("delete window.OffscreenCanvas")  # an older browser draws it all the same
    assess(page, image)
    page.wait_for_selector("#evidence:visible")
    other = tmp_path / "other.jpg"
    other.write_bytes(picture(2, (600, 450)))
    for broken in ("() => Promise.reject(new Error('no memory'))", "undefined"):
        page.evaluate(f"void (window.createImageBitmap = {broken})")
        assess(page, other)
        page.wait_for_timeout(300)
        assert page.is_visible("#findings")
        assert page.is_hidden("#evidence")
        assert page.evaluate(BLANK)
    assert context.watch.complaints == []


def test_the_answer_does_not_wait_for_its_evidence(page, context, image):
    held = []
    page.route("**/explain", lambda route: held.append(route))  # noqa: PLW0108 - it marks the function
    assess(page, image)
    page.wait_for_selector("#evidence-state:has-text('Looking')")
    assert page.is_visible("#findings")
    assert page.get_attribute("#result", "aria-busy") == "false"
    assert page.is_hidden("#evidence")
    page.emulate_media(media="print")
    assert page.is_hidden("#evidence-state")
    page.emulate_media(media="screen")
    held[0].continue_()
    page.wait_for_selector("#evidence:visible")
    assert page.inner_text("#evidence-state") == "Where the evidence lies is shown now."
    assert context.watch.complaints == []


def test_evidence_is_taken_back_with_clear_and_that_never_comes_is_said(page, image):
    held = []
    page.route("**/explain", lambda route: held.append(route))  # noqa: PLW0108 - it marks the function
    assess(page, image)
    page.wait_for_selector("#evidence-state:has-text('Looking')")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/explain")):
        page.click("#clear")
    page.wait_for_selector("#answer", state="hidden")
    assert page.text_content("#evidence-state") == ""
    assess(page, image)
    page.wait_for_selector("#evidence-state:has-text('Looking')")
    assert page.evaluate(BLANK)
    held[1].abort()
    page.wait_for_selector("#evidence-state:has-text('No map could be made')")
    assert page.is_hidden("#evidence")
    assert page.is_visible("#findings")
    assert page.is_hidden("#error")


def test_all_diagnoses_can_be_opened(page, image, loaded):
    assess(page, image)
    page.click("summary")
    rows = page.eval_on_selector_all("#all tr", "rows => rows.map(row => row.cells[0].textContent)")
    assert sorted(rows) == sorted(loaded.bundle.view.classes)


def test_a_text_file_gives_an_error_and_no_result(page, tmp_path, image):
    assess(page, image)
    wrong = tmp_path / "lesion.txt"
    wrong.write_text("no image")
    page.set_input_files("#image", wrong)
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert "neither a JPEG nor a PNG image. Give a JPEG or PNG file" in page.inner_text("#error")
    assert page.is_hidden("#preview")
    assert page.is_hidden("#answer")
    assess(page, image)
    assert page.is_hidden("#error")


def test_no_image_and_an_impossible_age_are_said_before_anything_is_sent(page, context, image):
    page.click("#assess")
    assert page.inner_text("#error") == "Choose an image first."
    page.set_input_files("#image", image)
    for age in ("130", "-1", "4,5,5", "1.000,5", "1,200", "55.", "old", "0x20", "1e1", "5.125"):
        page.fill("#age", age)
        page.click("#assess")
        wanted = "Age must be a number of years from 0 to 120, with two decimals at most."
        assert (page.inner_text("#error"), page.input_value("#age")) == (wanted, age)
        assert page.evaluate("document.activeElement.id") == "age"
        assert page.get_attribute("#age", "aria-invalid") == "true"
    assert page.get_attribute("#age", "aria-errormessage") == "error"
    page.keyboard.press("Backspace")
    assert page.get_attribute("#age", "aria-invalid") == "false"
    assert not [url for url in context.watch.requests if url.endswith("/predict")]


@pytest.mark.parametrize(("typed", "years"), [("4,5", 4.5), ("55,5", 55.5), (" 0.5 ", 0.5), ("61", 61)])
def test_an_age_with_a_decimal_comma_is_the_age_that_was_typed(page, image, loaded, typed, years):
    page.set_input_files("#image", image)
    page.focus("#age")
    page.keyboard.type(typed)
    with page.expect_response("**/predict") as answered:
        page.keyboard.press("Enter")
    page.wait_for_selector("#answer:visible")
    expected = inference.answer(image.read_bytes(), Patient(years), loaded.open()).probabilities
    assert answered.value.json()["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert answered.value.json()["imputed"] == ["sex", "site"]
    assert f"{years:g} years" in page.inner_text("#subject")


def test_a_changed_field_takes_the_old_result_away(page, image):
    assess(page, image)
    page.select_option("#sex", "male")
    assert page.is_hidden("#answer")
    assert "changed" in page.inner_text("#status")


def test_clear_takes_image_and_result_away(page, image):
    assess(page, image, "55")
    page.click("#clear")
    page.wait_for_selector("#answer", state="hidden")
    assert page.input_value("#age") == ""
    assert page.is_hidden("#preview")


@pytest.mark.parametrize("place", ["#drop", "h1", "#result", "body"])
def test_an_image_can_be_dropped_anywhere_and_the_page_stays(page, image, place):
    """An event that is not prevented makes the browser open the file in the page's stead."""
    prevented = page.evaluate(
        """([bytes, place]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
            const event = {dataTransfer: transfer, bubbles: true, cancelable: true};
            const here = document.querySelector(place);
            return ["dragover", "drop"].map(name => !here.dispatchEvent(new DragEvent(name, event)));
        }""",
        [list(image.read_bytes()), place],
    )
    assert prevented == [True, True]
    assert page.inner_text("#drop-title") == "dropped.jpg"
    page.click("#assess")
    page.wait_for_selector("#answer:visible")


def test_text_can_still_be_dropped_into_a_field(page):
    prevented = page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.setData("text/plain", "55");
            const event = {dataTransfer: transfer, bubbles: true, cancelable: true};
            return !document.getElementById("age").dispatchEvent(new DragEvent("drop", event));
        }"""
    )
    assert not prevented


def test_a_service_that_is_gone_is_said_in_words(page, image):
    page.route("**/predict", lambda route: route.abort())
    page.set_input_files("#image", image)
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert "can't be reached" in page.inner_text("#error")


def test_a_file_that_is_gone_is_not_taken_for_a_service_that_is_gone(page, image):
    page.set_input_files("#image", image)
    image.unlink()
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error") == "The file has changed or can't be read any more. Choose it again."


def test_a_file_that_was_written_anew_and_chosen_once_more_is_seen_as_it_is_now(page, context, image, loaded):
    """The browser calls the same name no change; picture and answer must be of the same bytes."""
    assess(page, image)
    old = page.evaluate(SHOWN)
    image.write_bytes(picture(4, (600, 450)))
    session = context.new_cdp_session(page)
    node = session.send("Runtime.evaluate", {"expression": "document.getElementById('image')"})
    chosen = {"files": [str(image)], "objectId": node["result"]["objectId"]}
    session.send("DOM.setFileInputFiles", chosen)
    page.wait_for_selector("#status:has-text('Ready to assess.')")
    page.click("#assess")
    page.wait_for_selector("#answer:visible")
    expected = inference.answer(image.read_bytes(), Patient(), loaded.open()).top3
    assert [name for name, _, _ in bars(page)] == [NAMES[code] for code, _ in expected]
    shown = page.evaluate(SHOWN)
    assess(page, image.rename(image.with_name("another.jpg")))
    assert page.evaluate(SHOWN) == shown != old


def test_a_file_that_is_gone_after_the_answer_leaves_picture_and_evidence(page, image):
    held = []
    page.route("**/explain", lambda route: held.append(route))  # noqa: PLW0108 - it marks the function
    assess(page, image)
    image.unlink()
    sent = page.evaluate(SHOWN)
    held[0].continue_()
    page.wait_for_selector("#evidence:visible")
    assert page.evaluate(SHOWN) == sent


def test_back_from_another_page_the_chosen_image_is_shown(page, context, address, image):
    assess(page, image)
    page.goto(f"{address}/info")
    page.go_back()
    page.wait_for_function(
        "document.getElementById('image').files.length === 0 || "
        "document.getElementById('drop').classList.contains('filled')"
    )
    kept = page.evaluate("document.getElementById('image').files.length")
    assert page.inner_text("#drop-title") == (image.name if kept else "Choose an image")
    assert context.watch.complaints == []


PASTE = """([bytes, text, target]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", {type: "image/jpeg"}));
    if (text) transfer.setData("text/plain", text);
    const event = new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
    return !document.querySelector(target).dispatchEvent(event);
}"""


def test_a_spreadsheets_cell_pasted_as_age_leaves_the_image(page, image):
    page.set_input_files("#image", image)
    bytes_ = list(picture(4))
    assert not page.evaluate(PASTE, [bytes_, "54", "#age"])
    assert page.inner_text("#drop-title") == image.name
    assert page.evaluate(PASTE, [bytes_, "", "#age"])
    assert page.inner_text("#drop-title") == "pasted.jpg"


DROP = """(names) => {
    const transfer = new DataTransfer();
    for (const name of names) transfer.items.add(new File(["x"], name));
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
}"""


def test_of_several_dropped_files_it_is_said_which_one_was_taken(page):
    page.evaluate(DROP, ["one.jpg", "two.jpg"])
    assert page.inner_text("#status") == "One image at a time: one.jpg was taken. Ready to assess."


def test_the_question_about_the_patient_stays_where_one_of_several_files_was_taken(page, image):
    page.set_input_files("#image", image)
    page.fill("#age", "80")
    page.evaluate(DROP, ["one.jpg", "two.jpg"])
    said = page.inner_text("#status")
    assert said.startswith("One image at a time: one.jpg was taken.")
    assert said.endswith("belong to this image, too (age)?")


def test_a_file_over_the_limit_is_refused_before_it_is_sent(page, context, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(32 * 2**20 + 1))
    page.set_input_files("#image", large)
    page.click("#assess")
    assert page.inner_text("#error") == "The image is larger than 32 MB. Save a smaller one."
    assert not [url for url in context.watch.requests if url.endswith("/predict")]


def test_a_file_that_leaves_no_room_for_the_form_is_refused_before_it_is_sent(page, context, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(32 * 2**20 - 200))
    page.set_input_files("#image", large)
    page.click("#assess")
    assert page.inner_text("#error").startswith("The image is larger than 32 MB.")
    assert not [url for url in context.watch.requests if url.endswith("/predict")]


def test_an_empty_file_is_said_to_be_empty(page, context, tmp_path):
    (tmp_path / "empty.jpg").touch()
    page.set_input_files("#image", tmp_path / "empty.jpg")
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error") == "The file is empty. Choose another one."
    assert not [url for url in context.watch.requests if url.endswith("/predict")]


def test_with_the_next_image_it_is_asked_whether_the_patient_is_the_same(page, image):
    page.fill("#age", "54")
    page.select_option("#site", "torso")
    page.set_input_files("#image", image)
    assert page.inner_text("#status") == "Ready to assess."
    page.set_input_files("#image", [])
    page.set_input_files("#image", image)
    assert page.inner_text("#status") == "Ready to assess."
    other = image.with_name("other.jpg")
    other.write_bytes(picture(2))
    page.set_input_files("#image", other)
    assert page.inner_text("#status").endswith("belong to this image, too (age, body site)?")
    page.set_input_files("#image", [])
    page.set_input_files("#image", image)
    assert page.inner_text("#status").endswith("belong to this image, too (age, body site)?")
    page.click("#clear")
    page.fill("#age", "54")
    page.set_input_files("#image", other)
    assert page.inner_text("#status") == "Ready to assess."


def test_where_a_rule_is_unknown_to_a_browser_the_skip_link_still_hides(page, address):
    """Firefox before 121 and Safari before 15.4 drop each rule that has `:has()` in it."""

    def without(route):
        reply = route.fetch()
        route.fulfill(response=reply, body=reply.text().replace(":has(", ":is-unknown("))

    page.route("**/style*.css", without)
    page.goto(address)
    assert page.locator(".skip").bounding_box()["x"] < 0


def test_before_an_answer_no_change_of_the_fields_asks_to_assess_again(page, image):
    page.set_input_files("#image", image)
    page.fill("#age", "54")
    assert page.inner_text("#status") == "Ready to assess."


def test_an_answer_does_not_wait_for_the_words_about_its_model(page, address, image, loaded):
    page.route("**/model", lambda _: None)
    page.goto(address)
    assess(page, image)
    page.click("summary")
    assert page.inner_text("#all tr:first-child td:nth-child(2)") in loaded.bundle.view.classes
    assert "set aside for the test" not in page.inner_text("#refer")


def test_figures_of_a_model_that_was_replaced_do_not_stand_beside_an_answer(page, address, image, loaded):
    asked = []

    def of_another(route):
        asked.append(route)
        about = route.fetch().json()
        about["metrics"]["operating_point"]["sensitivity"] = {"value": 0.99, "low": 0.97, "high": 1}
        if len(asked) == 1:
            about["digest"] = "0" * 64
        else:
            about["metrics"]["operating_point"]["sensitivity"]["value"] = 0.77
        route.fulfill(json=about)

    page.route("**/model", of_another)
    page.goto(address)
    assess(page, image)
    assert "it found 77\N{NO-BREAK SPACE}%" in page.inner_text("#refer")
    assess(page, image)
    assert len(asked) == 2
    page.route("**/model", lambda route: route.fulfill(json=route.fetch().json() | {"digest": "1" * 64}))
    page.goto(address)
    assess(page, image)
    assert "it found" not in page.inner_text("#refer")


def test_evidence_of_another_model_is_not_shown(page, image):
    def of_another(route):
        told = route.fetch().json()
        route.fulfill(json=told | {"model": told["model"] | {"digest": "0" * 12}})

    page.route("**/explain", of_another)
    assess(page, image)
    page.wait_for_selector("#evidence-state:has-text('No map')")
    assert page.is_hidden("#evidence")


def test_the_words_about_a_map_are_read_aloud_once(page, image):
    assess(page, image)
    page.wait_for_selector("#evidence:visible")
    page.evaluate(
        """() => {
            window.told = 0;
            new MutationObserver(() => { window.told += 1; })
                .observe(document.getElementById("map-words"), {childList: true, subtree: true});
        }"""
    )
    page.focus("#strength")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("window.told") == 0
    page.click("#map-choice label:nth-of-type(2)")
    assert page.evaluate("window.told") == 1


def test_a_question_that_nobody_waits_for_any_more_is_taken_back(page, image):
    taken_back = []
    page.on("requestfailed", lambda request: taken_back.append(request.url.rpartition("/")[2]))
    page.route("**/predict", lambda _: None)
    page.set_input_files("#image", image)
    with page.expect_request("**/predict"):
        page.click("#assess")
    page.fill("#age", "47")
    page.wait_for_timeout(200)
    assert taken_back == ["predict"]
    assert page.is_hidden("#error")
    page.unroute("**/predict")
    page.click("#assess")
    page.wait_for_selector("#answer:visible")


def test_an_answer_that_never_comes_is_given_up(page, image):
    page.route("**/predict", lambda _: None)
    page.evaluate(
        """() => {
            const wait = window.setTimeout;
            window.setTimeout = (work, ms) => {
                if (ms > 10_000) window.waited = ms;
                return wait(work, Math.min(ms, 50));
            };
        }"""
    )
    page.set_input_files("#image", image)
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error").startswith("No answer within 65 seconds.")
    assert page.evaluate("window.waited") == 65_000


def test_an_answer_whose_end_never_comes_is_given_up(page, image):
    page.evaluate(
        """() => {
            window.fetch = async (path, { signal }) => ({
                ok: true,
                text: () => new Promise((_, lost) => {
                    signal.addEventListener("abort", () => lost(signal.reason));
                }),
            });
            const wait = window.setTimeout;
            window.setTimeout = (work, ms) => wait(work, Math.min(ms, 50));
        }"""
    )
    page.set_input_files("#image", image)
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error").startswith("No answer within 65 seconds.")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<!doctype html><title>Sign in</title>", "What came back is no answer of this service."),
        (200, "null", "What came back is no answer of this service."),
        (200, '{"top3": [', "What came back is no answer of this service."),
        (502, "null", "The service answered with status 502."),
    ],
)
def test_what_is_no_answer_of_the_service_is_said_in_words(page, image, status, body, said):
    page.route("**/predict", lambda route: route.fulfill(status=status, body=body))
    page.set_input_files("#image", image)
    page.click("#assess")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error").startswith(said)


@pytest.mark.parametrize("context", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_the_answer_is_json_and_the_address_holds_nothing(page, context, address, image):
    page.set_input_files("#image", image)
    assert page.eval_on_selector("#image", "input => getComputedStyle(input).opacity") == "1"
    page.fill("#age", "47")
    page.click("#assess")
    page.wait_for_url(f"{address}/predict")
    assert '"top3"' in page.content()
    assert not [url for url in context.watch.requests if "47" in url.removeprefix(address)]


def test_the_whole_form_works_with_the_keyboard_alone(page, image):
    page.set_input_files("#image", image)
    page.focus("#image")
    page.keyboard.press("Tab")
    page.keyboard.type("61")
    page.keyboard.press("Tab")
    page.keyboard.type("Fem")
    page.keyboard.press("Tab")
    page.keyboard.type("Tor")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "assess"
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer:visible")
    assert page.inner_text("#subject").split("\n")[5::2] == ["61 years", "Female", "Torso"]
    assert page.evaluate("document.activeElement.id") == "assess"


def test_a_screen_reader_is_told_the_fields_the_errors_and_the_result(page, image):
    for label in ("Choose an image", "Age, years", "Sex", "Body site"):
        assert page.get_by_label(label).count() == 1, label
    assert page.get_attribute("#error", "role") == "alert"
    assert page.get_attribute("#status", "role") == "status"
    assess(page, image)
    said = page.text_content("#status")
    figures = r"Result: (.+ [\d.]+.%(, )?){3}\. Malignant or a precursor [\d.]+.%\. "
    assert re.fullmatch(
        f"{figures}(Below the threshold; this is no all-clear|At or above the threshold: refer)\\.", said
    )
    assert said.endswith(page.inner_text("#refer strong"))


def test_a_screen_reader_is_told_also_of_a_forced_answer_that_the_image_is_unlike_the_others(page, tmp_path):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(other_thing())
    assess(page, sheet)
    page.click("#force")
    page.wait_for_selector("#findings:visible")
    assert re.match(r"This image is unlike .* Result: .* threshold", page.text_content("#status"))


def test_the_focus_goes_to_the_result_when_the_button_that_was_pressed_is_gone(page, tmp_path):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(other_thing())
    assess(page, sheet)
    page.focus("#force")
    page.keyboard.press("Enter")
    page.wait_for_selector("#findings:visible")
    assert page.evaluate("document.activeElement.id") == "result-title"


def test_the_focus_goes_to_the_form_when_the_answer_that_was_forced_fails(page, tmp_path):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(other_thing())
    assess(page, sheet)
    page.route("**/predict", lambda route: route.abort())
    page.focus("#force")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:visible")
    assert page.evaluate("document.activeElement.id") == "assess"


def test_a_busy_button_keeps_the_focus_and_asks_only_once(page, image):
    waiting = []

    def hold(route):
        waiting.append(route)

    page.route("**/predict", hold)
    page.set_input_files("#image", image)
    page.focus("#assess")
    for _ in range(3):
        page.keyboard.press("Enter")
    page.wait_for_selector("#assess[aria-disabled=true]")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.id") == "assess"
    waiting.pop().continue_()
    page.wait_for_selector("#answer:visible")
    assert waiting == []
    assert page.evaluate("document.activeElement.id") == "assess"
    assert page.get_attribute("#assess", "aria-disabled") == "false"


LARGE_TEXT = "html { font-size: 200% }"
STYLED = """text => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    document.adoptedStyleSheets = [sheet];
}"""
SPACED_TEXT = (
    "* { letter-spacing: .12em !important; word-spacing: .16em !important; line-height: 1.5 !important }"
)


@pytest.mark.parametrize("style", ["", LARGE_TEXT, SPACED_TEXT], ids=["as it is", "large", "spaced"])
@pytest.mark.parametrize("context", [PHONE, NARROW], indirect=True, ids=["360", "320"])
@pytest.mark.parametrize("path", ["/", "/info", "/api"])
def test_nothing_is_wider_than_a_phone(page, context, address, image, path, style):
    page.goto(address + path)
    page.evaluate(STYLED, style)
    if path == "/":
        assess(page, image)
        page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.eval_on_selector_all(".card *", OUTSIDE) == []
    assert context.watch.complaints == []


def test_all_text_follows_the_readers_own_size(page, image):
    assess(page, image)
    sizes = "() => ['.bar-name', '.notice', '#age', '#assess', 'h2', '.hint'].map("
    sizes += "found => parseFloat(getComputedStyle(document.querySelector(found)).fontSize))"
    before = np.array(page.evaluate(sizes))
    page.evaluate("document.documentElement.style.fontSize = '24px'")
    assert np.array(page.evaluate(sizes)) / before == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("context", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_for_readers_who_want_it_so(page, image):
    page.route("**/predict", lambda _: None)
    page.set_input_files("#image", image)
    page.click("#assess")
    page.wait_for_selector("#status.busy")
    assert page.evaluate("document.getAnimations({ subtree: true }).length") == 0


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgb = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = (color) => {
        const [r, g, b] = [...rgb(color)].slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const color = getComputedStyle(node).backgroundColor;
            if (rgb(color)[3] === 255) return color;
        }
        return "#fff";
    };
    const bad = [];
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || !node.getClientRects().length) continue;
        if (node.closest("svg, template, noscript, option")) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.textContent.trim().slice(0, 40));
    }
    return bad;
}"""


@pytest.mark.parametrize(
    "context", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"]
)
@pytest.mark.parametrize("path", ["/", "/info", "/api"])
def test_text_stands_out_from_its_ground_by_4_5_to_1(page, address, image, path):
    page.goto(address + path)
    if path == "/":
        assess(page, image)
    assert page.evaluate(CONTRAST) == []


def test_the_contrast_check_finds_pale_text(page):
    page.evaluate("document.querySelector('h1').style.color = '#bbb'")
    assert page.evaluate(CONTRAST) == ["Assess a dermoscopic image"]


def test_every_sheet_says_that_this_is_no_medical_device(page, address, image):
    page.emulate_media(media="print")
    assert page.is_visible("main > .notice")
    page.emulate_media(media="screen")
    assess(page, image)
    page.emulate_media(media="print")
    assert page.is_visible("main > .notice")  # a result takes two sheets: this one is on the first
    assert page.is_visible(".device")
    page.goto(f"{address}/info")
    assert page.is_visible("main > .notice")


def test_on_paper_stands_the_result_with_provenance_and_without_the_form(page, image, loaded):
    assess(page, image)
    page.emulate_media(media="print")
    assert page.is_visible("summary")
    assert page.is_hidden("#form")
    assert page.is_visible("#top3")
    assert page.is_visible("#subject-image")
    assert page.is_visible("#provenance")
    result = page.inner_text("#result")
    assert "Not a medical device." in result
    digest = f"Bundle (digest)\n{loaded.bundle.digest[:12]}\n"
    for traced in (image.name, "tiny-demo", digest, loaded.model["version"]):
        assert traced in result
    assert re.search(r"Assessed\s+\d+ \w+ 20\d\d at \d\d:\d\d:\d\d \S+", result)


COLOURS = """() => Object.fromEntries([
    ["track", ".bar-track"], ["fill", ".bar-fill"], ["gauge", "#gauge"], ["gauge fill", "#malignant-fill"],
    ["mark", "#gauge-mark"],
].map(([name, found]) => [name, getComputedStyle(document.querySelector(found)).backgroundColor]))"""


@pytest.mark.parametrize(
    "context",
    [{"forced_colors": "active", "color_scheme": scheme} for scheme in ("light", "dark")],
    indirect=True,
    ids=["light", "dark"],
)
@pytest.mark.parametrize("above", [False, True])
def test_bars_and_mark_stand_out_in_the_readers_own_colours(page, image, above):
    assess(page, image)
    page.evaluate("above => document.getElementById('gauge').classList.toggle('above', above)", above)
    colours = page.evaluate(COLOURS)
    assert colours["fill"] == colours["gauge fill"] != colours["track"]
    assert len({colours["gauge"], colours["gauge fill"], colours["mark"]}) == 3
    assert page.eval_on_selector(".bar-track", "track => getComputedStyle(track).borderTopWidth") == "1px"


def test_the_information_page_draws_the_five_signs_twice(page, address):
    page.goto(f"{address}/info")
    assert page.eval_on_selector_all(".sign h3 b", "found => found.map(b => b.textContent)") == list("ABCDE")
    drawings = page.eval_on_selector_all(".sign svg[role=img][aria-label]", "found => found.length")
    assert drawings == 10
