"""evaluate_model as a whole: stable keys, deterministic bytes, a page that needs no network."""

import json
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dermaflow import outputs
from dermaflow.errors import DataError
from dermaflow.evaluate import figures, members, openings, shortcuts, subgroups
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.evaluation import evaluate_model, read_funnel
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import MALIGNANT, NINE, SEVEN
from tests_paths import ROOT
from tests_predictions import made_cases, made_funnel, made_members

FAST = EvaluateParams(bootstrap=100)
NOTICE = "Drawn <images> prove nothing medical."


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(6)
    cases, holdout = made_cases(rng)
    return cases, holdout, made_members(rng, cases, holdout, models=("lite0",))


@pytest.fixture(scope="module")
def evaluation(world):
    cases, holdout, found = world
    return evaluate_model(
        "lite0", found, cases, holdout, FAST, funnel=made_funnel(cases, holdout), notice=NOTICE
    )


@pytest.fixture(scope="module")
def answers(world):
    cases, holdout, found = world
    prior = members.natural_prior(cases, NINE)
    calibration = members.calibration(found, np.full(3, 1 / 3), prior)
    table = members.predict(found, calibration, "hold_out")
    return Answers.of(table, NINE, prior, members.labelled(cases, holdout, "hold_out"))


def test_the_headline_is_that_of_scikit_learn(evaluation, answers):
    from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

    found = evaluation.metrics["hold_out"]
    decided = answers.decision.argmax(axis=1)
    mel = answers.probability[:, 0]
    bad = [index for index, code in enumerate(NINE.classes) if code in MALIGNANT]
    slow = {
        "balanced_accuracy": balanced_accuracy_score(answers.target, decided),
        "melanoma_auc": roc_auc_score(answers.target == 0, mel),
        "malignant_auc": roc_auc_score(np.isin(answers.target, bad), answers.probability[:, bad].sum(axis=1)),
        "macro_auc": roc_auc_score(answers.target, answers.probability, multi_class="ovr", average="macro"),
        "accuracy": (answers.probability.argmax(axis=1) == answers.target).mean(),
        "log_loss": log_loss(answers.target, answers.probability),
        "brier": brier_score_loss(answers.target, answers.probability, labels=range(9), scale_by_half=False),
    }
    for name, value in slow.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["cases"] == 120
    assert found["groups"] == 60


def test_the_row_of_each_diagnosis_is_that_of_scikit_learn(evaluation, answers):
    """Sensitivity and specificity go by the decision scores, the two areas by the probabilities."""
    from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

    decided = answers.decision.argmax(axis=1)
    for index, code in enumerate(NINE.classes):
        truth, said, called = answers.target == index, answers.probability[:, index], decided == index
        slow = {
            "cases": truth.sum(),
            "sensitivity": recall_score(truth, called),
            "specificity": recall_score(~truth, ~called),
            "auc": roc_auc_score(truth, said),
            "average_precision": average_precision_score(truth, said),
        }
        assert evaluation.metrics["hold_out"]["per_class"][code] == pytest.approx(slow, abs=1e-6), code


def test_the_challenges_figures_have_stable_keys(evaluation, answers):
    from sklearn.metrics import balanced_accuracy_score

    hold_out = evaluation.metrics["hold_out"]
    ham = answers.where((answers.cases.centre == "HAM").to_numpy()).in_view(SEVEN)
    value = balanced_accuracy_score(ham.target, ham.decision.argmax(axis=1))
    found = hold_out["isic2018_view"]["HAM"]["balanced_accuracy"]
    assert found["value"] == pytest.approx(value, abs=1e-6)
    assert found["cases"] == len(ham)
    assert set(found) == {"value", "low", "high", "cases"}
    assert hold_out["isic2019_view"]["BCN"]["balanced_accuracy"]["value"] > 0.4
    assert "SIIM" not in hold_out["isic2018_view"]  # its cases are UNK, no class of 2018


def test_beside_each_centres_figures_stand_those_of_one_who_is_told_it(evaluation, world):
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    cases, holdout, found = world
    prior, centres = members.natural_prior(cases, NINE), members.priors_by_centre(cases, NINE)
    told = members.calibration(found, np.full(3, 1 / 3), prior, centres=centres).told("HAM")
    for split in ("hold_out", "out_of_fold"):
        truth = members.labelled(cases, holdout, split)
        truth = truth[(truth.centre == "HAM") & (truth.diagnosis != "UNK")]
        frame = members.predict(found, told, split).set_index("image_id").loc[truth.image_id]
        said = frame[[f"probability_{code}" for code in NINE.classes]].to_numpy()
        merged = [said[:, i] + (said[:, 7] if i == 3 else 0) for i in range(7)]  # AKIEC is AK and SCC
        own = [told.prior[i] + (told.prior[7] if i == 3 else 0) for i in range(7)]
        target = [SEVEN.target(code) for code in truth.diagnosis]
        decided = (np.array(merged).T / np.array(own)).argmax(axis=1)
        here = evaluation.metrics[split]["isic2018_view"]["HAM"]
        value = here["told"]["balanced_accuracy"]["value"]
        assert value == pytest.approx(balanced_accuracy_score(target, decided), abs=1e-6)
        melanoma = merged[0] / np.sum(merged, axis=0)
        auc = roc_auc_score(np.array(target) == 0, melanoma)
        assert here["told"]["melanoma_auc"]["value"] == pytest.approx(auc, abs=1e-6)
    assert value != here["balanced_accuracy"]["value"]
    assert "told" not in evaluation.metrics["hold_out"]["isic2018_view"]["all"]
    ham = evaluation.metrics["hold_out"]["isic2018_view"]["HAM"]
    shown = f"{ham['cases']}</td><td>{ham['told']['balanced_accuracy']['value']:.3f} ("
    assert f"<td>Seven of 2018, HAM, told</td><td>{shown}" in evaluation.report_html


def test_images_of_no_named_centre_are_told_nothing(world):
    cases, holdout, found = world
    nameless = cases.assign(centre=cases.centre.replace("MSK", "unknown"))
    result = evaluate_model(
        "lite0", found, nameless, holdout, FAST, funnel=made_funnel(cases, holdout), notice=NOTICE
    )
    assert result.metrics["hold_out"]["isic2019_view"]["unknown"]["told"] is None
    assert result.metrics["hold_out"]["isic2019_view"]["BCN"]["told"]["melanoma_auc"]["value"] > 0.5


def test_releases_may_be_called_by_number_or_like_a_missing_value(world, tmp_path):
    cases, holdout, found = world
    funnel = made_funnel(cases, holdout)
    names = funnel.release.unique()
    funnel["release"] = funnel.release.map(dict(zip(names, ["212", "NA", "1e5"], strict=False)))
    funnel.to_csv(tmp_path / "funnel.csv", index=False)
    read = read_funnel(tmp_path / "funnel.csv")
    page = evaluate_model("lite0", found, cases, holdout, FAST, funnel=read, notice=NOTICE).report_html
    for name in funnel.release.unique():
        assert f"<h3>{name}</h3>" in page


def test_a_view_that_is_too_fine_is_null():
    cases = pd.DataFrame({"diagnosis": ["MEL", "NV"], "group": [0, 1], "centre": "HAM"})
    said = Answers(SEVEN, np.array([0, 1]), np.full((2, 7), 1 / 7), np.ones(7) / 7, cases)
    found = subgroups.official_views(said, {}, FAST)
    assert found["isic2019_view"] is None
    few = found["isic2018_view"]["HAM"]["balanced_accuracy"]  # two cases: a value, no interval
    assert few == {"value": 0, "low": None, "high": None, "cases": 2}
    assert found["isic2018_view"]["HAM"]["absent_classes"] == ["BCC", "AKIEC", "BKL", "DF", "VASC"]


def test_out_of_fold_figures_carry_their_warning(evaluation):
    assert evaluation.metrics["out_of_fold"]["note"] == "epoch chosen on the same fold"


def test_every_case_is_in_one_subgroup_of_each_kind(evaluation):
    kinds = {k: groups for k, groups in evaluation.metrics["hold_out"].items() if k.startswith("by_")}
    assert set(kinds) == {
        f"by_{kind}" for kind in ("release", "centre", "sex", "age", "site", "patient_data")
    }
    for kind, groups in kinds.items():
        assert sum(group["cases"] for group in groups.values()) == 120, kind


def test_small_subgroups_are_listed_without_figures(answers):
    params = EvaluateParams(bootstrap=100, min_cases=len(answers) + 1)
    found = subgroups.subgroups(answers, params)["by_sex"]
    assert found["male"]["cases"] > 0
    assert found["male"]["balanced_accuracy"]["value"] is None


def test_a_subgroup_of_one_patient_is_listed_without_figures_however_many_images_there_are(answers):
    """Thirty images of one patient gave 0.067 (0.067 to 0.067)."""
    male = (answers.cases.sex == "male").to_numpy()
    one = replace(answers, cases=answers.cases.assign(group=np.where(male, -1, answers.groups)))
    found = subgroups.subgroups(one, FAST)["by_sex"]
    assert found["male"]["cases"] == male.sum() > FAST.min_cases
    assert found["male"]["melanoma_auc"] == {"value": None, "low": None, "high": None}
    assert found["female"]["balanced_accuracy"]["low"] < found["female"]["balanced_accuracy"]["high"]


def test_a_hold_out_of_few_groups_has_values_without_intervals_and_the_report_says_why(world, evaluation):
    cases, holdout, found = world
    few = cases.assign(group=cases.group.where(cases.split != "hold_out", cases.group % 45))  # nine are left
    result = evaluate_model(
        "lite0", found, few, holdout, FAST, funnel=made_funnel(cases, holdout), notice=NOTICE
    )
    hold_out, before = result.metrics["hold_out"], evaluation.metrics["hold_out"]
    assert hold_out["groups"] == 9
    for key in ("balanced_accuracy", "melanoma_auc", "macro_auc", "brier"):
        assert hold_out[key] == {"value": before[key]["value"], "low": None, "high": None}
    seen = hold_out["isic2018_view"]["all"]["balanced_accuracy"]
    assert seen == before["isic2018_view"]["all"]["balanced_accuracy"] | {"low": None, "high": None}
    assert hold_out["by_patient_data"]["complete"]["balanced_accuracy"]["value"] is None
    assert result.metrics["out_of_fold"] == evaluation.metrics["out_of_fold"]
    assert "none for fewer than ten groups, or ten on one side of the figure" in result.report_html
    assert f"<td>{before['balanced_accuracy']['value']:.3f}</td>" in result.report_html


def test_age_bands_begin_at_their_lower_end_and_missing_ages_are_unknown():
    cases = pd.DataFrame(
        {"age_years": [29.9, 30, 44, 75, np.nan], "sex": "male", "site": None, "release": "r", "centre": "c"}
    )
    band = subgroups.columns(cases)["age"]
    assert band.to_list()[:4] == ["under 30", "30 to 44", "30 to 44", "75 and over"]
    assert list(subgroups.masks(band)) == ["under 30", "30 to 44", "75 and over", "unknown"]


def test_the_gain_of_patient_data_is_a_paired_difference(evaluation):
    hold_out = evaluation.metrics["hold_out"]
    gain = hold_out["gain_of_patient_data"]["melanoma_auc"]
    with_data, without = hold_out["melanoma_auc"], hold_out["without_patient_data"]["melanoma_auc"]
    assert gain["value"] == pytest.approx(with_data["value"] - without["value"], abs=2e-6)
    assert gain["value"] > 0  # the made plain logits are noisier


def test_the_source_probe_sees_what_size_gives_away(answers, world):
    """All UNK come at 6000 px, other classes never: size alone finds them, patient fields do not."""
    cases, holdout, _ = world
    train = members.labelled(cases, holdout, "out_of_fold")
    found = shortcuts.source_probe(answers, train, FAST)
    by = {name: value["balanced_accuracy"]["value"] for name, value in found.items()}
    assert by["size"] > 0.15  # 1 / 9 is a constant answer
    assert by["centre"] > 0.15
    assert by["patient_fields"] < by["size"]
    again = shortcuts.source_probe(answers, train.sample(frac=1, random_state=0).sort_index(), FAST)
    assert again == found


def test_a_single_training_class_teaches_the_probe_nothing(answers, world):
    cases, holdout, _ = world
    train = members.labelled(cases, holdout, "out_of_fold")
    found = shortcuts.source_probe(answers, train[train.diagnosis == "NV"], FAST)
    assert found["size"]["melanoma_auc"]["value"] == 0.5
    assert found["size"]["balanced_accuracy"]["value"] == pytest.approx(1 / 9, abs=1e-6)  # a constant answer


def test_what_is_not_defined_is_null_and_the_metrics_are_json(world):
    cases, holdout, found = world
    benign = holdout.assign(diagnosis="NV")
    result = evaluate_model(
        "lite0", found, cases, benign, FAST, funnel=made_funnel(cases, holdout), notice=NOTICE
    )
    text = json.dumps(result.metrics, allow_nan=False)
    hold_out = json.loads(text)["hold_out"]
    assert hold_out["melanoma_auc"] == {"value": None, "low": None, "high": None}
    assert hold_out["macro_auc"]["value"] is None
    assert hold_out["per_class"]["MEL"]["sensitivity"] is None
    assert "MEL" in hold_out["absent_classes"]
    assert "No hold-out case has MEL" in result.report_html


def test_the_same_input_gives_the_same_bytes(world, evaluation):
    cases, holdout, found = world
    again = evaluate_model(
        "lite0", found, cases, holdout, FAST, funnel=made_funnel(cases, holdout), notice=NOTICE
    )
    assert again.report_html == evaluation.report_html
    assert again.plots == evaluation.plots
    assert again.metrics == evaluation.metrics


def test_no_plot_names_the_software_or_the_time(evaluation):
    for name, png in evaluation.plots.items():
        assert png.startswith(b"\x89PNG"), name
        assert b"tEXt" not in png, name


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_loads_nothing_and_says_what_must_be_said(evaluation):
    page = Links()
    page.feed(evaluation.report_html)
    assert len(page.found) == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.found)
    assert not re.search(r"https?://|@import|url\(", evaluation.report_html)
    text = " ".join(page.text)
    for said in (
        "Not a medical device.",
        NOTICE,
        "epoch was chosen on the same fold",
        "The hold-out is the headline",
        "is one scoring of the hold-out, by model lite0; each other model and the ensemble",
        "dropped: duplicate",
        "The same by diagnosis",
        "reports/hold_out/openings.json",
        "No pixels, only image width and height",
    ):
        assert said in text, said


def test_the_files_are_written(project, evaluation):
    with outputs.replacing(outputs.path("evaluation/lite0"), folder=True) as folder:
        evaluation.write(folder)
    written = outputs.path("evaluation/lite0")
    assert json.loads((written / "metrics.json").read_text()) == evaluation.metrics
    assert (written / "report.html").read_text() == evaluation.report_html
    assert (written / "plots/roc.png").read_bytes() == evaluation.plots["roc"]


def test_numbers_are_rounded_and_nan_is_null():
    assert figures.plain(1 / 3) == 0.333333
    assert figures.plain(float("nan")) is None


def scored(log_loss, **more):
    figures = {"balanced_accuracy": 0.7, "melanoma_auc": None, "log_loss": log_loss}
    return {"hold_out": {name: {"value": value, **more} for name, value in figures.items()}}


def test_each_different_answer_to_a_hold_out_counts_once(project):
    folder = project / "reports"
    first, other = scored(0.4), scored(0.5)
    assert openings.count(folder, "h") == 0
    assert openings.note(folder, "h", "lite0", first) == 1
    wider = scored(0.4, low=0.1, high=0.9) | {"more": 1}  # other settings, the same answers
    assert openings.note(folder, "h", "lite0", wider) == 1
    assert openings.note(folder, "h", "ensemble", first) == 2
    assert openings.note(folder, "h", "lite0", other) == 3
    assert openings.note(folder, "another hold-out", "lite0", other) == 1
    assert openings.count(folder, "h") == 3
    for damaged in ('{"h": [', "[]"):
        (folder / openings.FILE).write_text(damaged)
        with pytest.raises(DataError, match=r"openings\.json.*Put a copy back, or remove it: the count"):
            openings.note(folder, "h", "lite0", first)


def test_answers_that_are_noted_side_by_side_all_count(project, monkeypatch):
    def slowly(folder, read=openings.read):
        found = read(folder)
        time.sleep(0.05)  # time enough for the others to read the same
        return found

    monkeypatch.setattr(openings, "read", slowly)
    with ThreadPoolExecutor(4) as pool:
        for name in ("a", "b", "c", "d"):
            pool.submit(openings.note, project / "reports", "h", name, scored(0.4))
    assert openings.count(project / "reports", "h") == 4


def test_make_clean_removes_the_reports_but_not_the_count_of_openings(project):
    shutil.copy(ROOT / "Makefile", project)
    openings.note(project / "reports", "h", "lite0", scored(0.4))
    for made in ("reports/data_docs/index.html", "outputs/cases.parquet"):
        (project / made).parent.mkdir(parents=True, exist_ok=True)
        (project / made).touch()
    subprocess.run(["make", "clean"], check=True, capture_output=True)
    assert [entry.name for entry in (project / "reports").iterdir()] == ["hold_out"]
    assert not (project / "outputs").exists()
    assert openings.count(project / "reports", "h") == 1
    shutil.rmtree(project / "reports")
    subprocess.run(["make", "clean"], check=True, capture_output=True)  # nothing left is no error
