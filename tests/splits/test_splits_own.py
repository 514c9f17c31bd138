"""A split that people bring is taken as it is, and held against the same law."""

import pandas as pd
import pytest
from split_world import facts_of, place, split, world

from dermaflow import outputs
from dermaflow.errors import DataError, LeakError
from dermaflow.releases import read
from dermaflow.splits import legacy, own
from dermaflow.splits.certificate import certify
from dermaflow.splits.export import export, require_same
from dermaflow.taxonomy import PUBLISHED_VIEWS

PREPARED = {"checked": 1, "critical_failures": 0, "warnings": 0}


def write(folder, rows, header="image,split,fold"):
    file = folder / "mine.csv"
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return file


@pytest.fixture(scope="module")
def ours():
    return split(world())


def exported(result, merged, *, hold_out=False):
    story = merged.assign(label_release=merged["release"], raw_label=merged["diagnosis"], rule_id="rule")
    return export(result.cases, story, result.holdout if hold_out else None)


def test_a_split_comes_back_as_it_was_exported(ours, tmp_path):
    file = tmp_path / "mine.csv"
    exported(ours, world()).to_csv(file, index=False)
    again = split(world(), own=own.read(file, 3))
    pd.testing.assert_frame_equal(again.cases, ours.cases)
    certify(again.cases, again.pairs, again.ledger, PREPARED, {}, {})


def test_cases_of_other_releases_than_those_merged_are_neither_exported_nor_told_of(ours):
    merged = world()
    require_same(ours.cases, merged)
    trained, held = (
        ours.cases.image_id[ours.cases.split == split].iloc[0] for split in ("train", "hold_out")
    )
    other = merged.assign(diagnosis=merged.diagnosis.mask(merged.image_id == trained, "VASC"))
    for some, wrong in (
        (trained, other),
        *((image, merged[merged.image_id != image]) for image in (trained, held)),
    ):
        with pytest.raises(
            DataError, match=rf"^outputs/cases\.parquet: 1 of its images .*: {some}\. Run `dvc"
        ):
            require_same(ours.cases, wrong)


def test_one_image_moved_by_hand_is_refused_by_the_certificate(ours, tmp_path):
    table = exported(ours, world())
    held = table[table["split"] == "hold_out"]
    group = held["group"][held["group"].duplicated()].iloc[0]
    moved = held.index[held["group"] == group][0]
    table.loc[moved, ["split", "fold"]] = ["train", "1"]
    file = tmp_path / "mine.csv"
    table.to_csv(file, index=False)
    leaking = split(world(), own=own.read(file, 3))
    with pytest.raises(LeakError, match="in both train and hold_out"):
        certify(leaking.cases, leaking.pairs, leaking.ledger, PREPARED, {}, {})


def test_images_that_are_not_listed_are_dropped_with_that_reason(ours, tmp_path):
    table = exported(ours, world())
    file = tmp_path / "mine.csv"
    table.iloc[3:].to_csv(file, index=False)
    cases = split(world(), own=own.read(file, 3)).cases.set_index("image_id")
    assert (cases.loc[table["image"].iloc[:3], "why_dropped"] == "not in the split file").all()
    assert cases["why_dropped"].notna().sum() == 3


def test_what_else_drops_an_image_stays_first(ours, tmp_path):
    file = tmp_path / "mine.csv"
    exported(ours, world()).to_csv(file, index=False)
    absent = world()["image_id"].iloc[0]
    result = split(world(), facts_of(world(), absent=[absent]), own=own.read(file, 3))
    assert result.cases.set_index("image_id").loc[absent, "why_dropped"] == "no image file"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "valid", 0), r"mine\.csv, row 2: 1 rows have an unknown split: valid.*train or hold_out"),
        (("a", "train", 3), r"mine\.csv, row 2: 1 rows have a fold that does not fit: 3.*0 to 2"),
        (("a", "train", ""), r"row 2: 1 rows have a fold that does not fit"),
        (("a", "hold_out", 1), r"row 2: .* a fold that does not fit: 1\. "),
        (("b", "train", 1), r"1 images are listed more than once: b"),
        (("", "train", 1), r"name no image"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_with_file_row_and_remedy(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        own.read(write(tmp_path, [("b", "train", 0), row]), 3)


def test_words_that_mean_the_same_are_accepted(tmp_path):
    rows = [("a.jpg", "Training", 0), ("b", "hold-out", ""), ("c", "test", -1)]
    assert own.read(write(tmp_path, rows), 1).to_dict() == {"a": "0", "b": "hold_out", "c": "hold_out"}


def test_folds_as_pandas_saves_a_column_with_gaps_are_those_numbers(tmp_path):
    rows = {"image": ["a", "b", "c"], "split": ["train", "train", "hold_out"], "fold": [0, 1, None]}
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    assert "a,train,0.0" in (tmp_path / "mine.csv").read_text()
    assert own.read(tmp_path / "mine.csv", 2).to_dict() == {"a": "0", "b": "1", "c": "hold_out"}
    with pytest.raises(
        DataError, match=r"rows 1, 2, 3: 3 rows have a fold that does not fit: 0\.5, 2\.0, 1\.0"
    ):
        own.read(write(tmp_path, [("a", "train", 0.5), ("b", "train", 2.0), ("c", "hold_out", 1.0)]), 2)


def test_an_absent_file_and_an_absent_column_are_named(tmp_path):
    with pytest.raises(DataError, match=r"split\.file: none\.csv: no such file"):
        own.read(tmp_path / "none.csv", 3)
    with pytest.raises(DataError, match=r"no column fold; .* Mend it: splits/README\.md shows"):
        own.read(write(tmp_path, [("a", "train")], "image,split"), 3)


def test_strangers_and_empty_places_are_named_with_file_and_row(ours, tmp_path):
    table = exported(ours, world())[["image", "split", "fold"]]
    rows = [("ISIC_9999999", "train", "0"), *table.itertuples(index=False)]
    with pytest.raises(DataError, match=r"^mine\.csv, row 1: 1 images are in no table: ISIC_9999999\. "):
        split(world(), own=own.read(write(tmp_path, rows), 3), file="mine.csv")
    less = [row for row in rows[1:] if row[2] != "2"]
    with pytest.raises(DataError, match=r"^mine\.csv: no image .* stands in 2: no row says 2\. List images"):
        split(world(), own=own.read(write(tmp_path, less), 3), file="mine.csv")
    lone = [(image, part, "1" if fold == "2" else fold) for image, part, fold in rows[1:]]
    lone[4] = (lone[4][0], "train", "2")
    absent = facts_of(world(), absent=[lone[4][0]])
    said = rf"stands in 2: 1 listed for 2 are dropped: {lone[4][0]} \(row 5, no image file\)\. "
    with pytest.raises(DataError, match=said):
        split(world(), absent, own=own.read(write(tmp_path, lone), 3), file="mine.csv")


def test_the_export_gives_hold_out_labels_away_only_when_asked(ours):
    told = ["diagnosis", "raw_label", "rule_id", *(f"view_{len(view.classes)}" for view in PUBLISHED_VIEWS)]
    shut, opened = (exported(ours, world(), hold_out=asked) for asked in (False, True))
    held = shut["split"] == "hold_out"
    assert shut.loc[held, told].isna().all(axis=None)
    assert shut.loc[~held, told].notna().all(axis=None)
    assert opened[told].notna().all(axis=None)
    truth = world().set_index("image_id")["diagnosis"]
    assert (opened["diagnosis"].to_numpy() == truth[opened["image"]].to_numpy()).all()
    assert set(place(ours)[opened["image"]][held.to_numpy()]) == {"hold_out-1"}


@pytest.mark.isic
def test_the_legacy_split_is_the_published_one_and_leaks_what_was_counted(isic, tmp_path):
    tables = {name: read(name, isic / name.removeprefix("isic")) for name in ("isic2019", "isic2020")}
    told = legacy.shown(tables)["legacy_split"]
    assert told["images"] == {"train": 46425, "validation": 11606}
    assert told["patients"] == {"tested": 1923, "also_trained_on": 1907}
    assert told["validation_diagnoses"] == {"UNK": 0.8126, "NV": 0.1622, "MEL": 0.0178, "BKL": 0.0074}
    file = tmp_path / "legacy.csv"
    legacy.as_file(legacy.rebuild(tables), 5).to_csv(file, index=False)
    assert own.read(file, 5).value_counts()["hold_out"] == 11606


def test_the_legacy_split_is_refused_by_the_certificate(tmp_path):
    merged = world()
    tables = {
        name: outputs.releases.check(
            merged[merged["release"] == name]
            .drop(columns="release")
            .assign(
                part="train", row=range(1, (merged["release"] == name).sum() + 1), raw_label="", raw_site=""
            )
            .assign(rule_id="rule")
        )
        for name in ("isic2019", "isic2020")
    }
    file = tmp_path / "legacy.csv"
    rows = legacy.rebuild(tables)
    assert (rows["split"] == "hold_out").sum() == len(rows) // 5
    assert rows["split"].is_monotonic_increasing
    legacy.as_file(rows, 3).to_csv(file, index=False)
    leaking = split(merged[merged["release"] != "isic2018"], own=own.read(file, 3))
    with pytest.raises(LeakError, match=r"patients? in both train and hold_out"):
        certify(leaking.cases, leaking.pairs, leaking.ledger, PREPARED, {}, {})


def test_without_its_releases_nothing_is_shown():
    assert legacy.shown({"isic2018": pd.DataFrame()}) == {}
