"""The model card says what became of each published row."""

from dataclasses import replace

from dermaflow.bundle import card
from helpers_bundle import tiny_bundle

FUNNEL = [
    ("listed", "isic2018", "NV", 1200),
    ("listed", "isic2018", "MEL", 100),
    ("listed", "isic2019", "NV", 50),
    ("dropped: unreadable", "isic2018", "MEL", 1),
    ("train", "isic2018", "NV", 1000),
    ("train", "isic2018", "MEL", 90),
    ("train", "isic2019", "NV", 50),
]
ALARMS = {"out_of_distribution": {"false_alarms": {"value": 0.012, "low": 0.01, "high": 0.02}}}


def test_the_card_counts_each_step_by_release_and_within_it_by_diagnosis(tmp_path):
    rows = [
        dict(zip(("step", "release", "diagnosis", "images"), map(str, row), strict=True)) for row in FUNNEL
    ]
    figures = {"macro_auc": {"value": 0.5}, "cases": 1, "groups": 1} | ALARMS
    text = card.render(replace(tiny_bundle(tmp_path), metrics=figures), rows)
    by_release = """| images | isic2018 | isic2019 |
| --- | --- | --- |
| listed | 1,300 | 50 |
| dropped: unreadable | 1 | 0 |
| train | 1,090 | 50 |
"""
    by_diagnosis = """| images | MEL | NV |
| --- | --- | --- |
| isic2018, listed | 100 | 1,200 |
| isic2018, dropped: unreadable | 1 | 0 |
| isic2018, train | 90 | 1,000 |
| isic2019, listed | 0 | 50 |
| isic2019, train | 0 | 50 |
"""
    assert f"{by_release}\n{by_diagnosis}\nTrained on: NV 1,050, MEL 90." in text
    assert "0.012 (0.010 to 0.020) are taken for such" in text


def test_a_card_says_that_nothing_tells_images_of_other_things(tmp_path):
    figures = {"macro_auc": {"value": 0.5}, "cases": 1, "groups": 1}
    text = card.render(replace(tiny_bundle(tmp_path, detector=False), metrics=figures), [])
    assert "Nothing tells them" in text


def test_a_card_says_where_there_are_too_few_patients_or_lesions(tmp_path):
    alone, nothing = {"value": 0.5, "low": None, "high": None}, dict.fromkeys(("value", "low", "high"))
    subgroup = {"balanced_accuracy": nothing, "melanoma_auc": nothing, "cases": 30}
    figures = {"balanced_accuracy": alone, "by_sex": {"male": subgroup}, "cases": 60, "groups": 2}
    text = card.render(replace(tiny_bundle(tmp_path, detector=False), metrics=figures), [])
    assert "| Balanced accuracy | 0.500 |" in text
    assert (
        "| Groups | 2 |\n\nIntervals: none for fewer than ten groups, or ten on one side of the figure.\n"
        in text
    )
    assert "Too few cases, patients or lesions for figures (cases): sex: male (30)." in text


def test_a_card_gives_the_wanted_sensitivity_as_it_was_asked_for(tmp_path):
    bundle = replace(tiny_bundle(tmp_path), metrics={"cases": 1, "groups": 1} | ALARMS)
    for share, said in ((0.95, "95 %"), (0.995, "99.5 %"), (0.975, "97.5 %"), (0.9995, "99.95 %")):
        text = card.render(replace(bundle, decision=bundle.decision | {"sensitivity": share}), [])
        assert f"out of fold for a sensitivity of {said}." in text
