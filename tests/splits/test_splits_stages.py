"""What a user reads when a stage stops: over too large a group, a leak, a certificate that is none."""

import re
import runpy
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from split_world import facts_of, split, world

from dermaflow import outputs
from dermaflow.errors import DataError, LeakError
from dermaflow.files import digest
from dermaflow.impute import fitting
from dermaflow.impute.params import ImputeParams
from dermaflow.splits import leaks
from tests_paths import ROOT


@pytest.fixture
def stage(project):
    """Runs a stage by its name, in a project with the committed params."""
    shutil.copy(ROOT / "params.yaml", project)
    return lambda name, *given: runpy.run_path(str(ROOT / "stages" / f"{name}.py"))["main"](*given)


def write_prepared(result):
    used = result.cases[result.cases.split != "dropped"]
    fit = fitting.fit(used[used.split == "train"], ImputeParams())
    outputs.cases.write(result.cases)
    outputs.pairs.write(result.pairs)
    written = {"cases": digest(outputs.cases.path), "pairs": digest(outputs.pairs.path)}
    outputs.write_json(outputs.path(outputs.ledger), {**result.ledger, "tables": written})
    outputs.patients.write(fitting.apply_table(fit.imputer, used))


def test_certify_names_what_a_leaking_split_file_shares_and_the_file_and_how_to_mend_it(stage, project):
    cases = split(world()).cases.set_index("image_id")
    listed = cases.split.where(cases.split == "hold_out", cases.fold.astype("str"))
    held = cases[cases.split == "hold_out"]
    moved = held.index[held.group.duplicated(keep=False)][0]
    stays = held.index[(held.group == held.group[moved]) & (held.index != moved)][0]
    listed[moved] = "1"
    write_prepared(split(world(), own=listed))
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["split"]["file"] = "mine.csv"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    lesion = cases.lesion_id[moved]
    with pytest.raises(
        LeakError,
        match=r"^cases\.parquet, dealt by splits/mine\.csv: .*1 group in both train and hold_out; .*: "
        rf"lesion {lesion} has {moved} in fold 1 and {stays} in hold_out; group \d+ has .*"
        r" in a split file of your own",
    ) as caught:
        stage("certify")
    assert "\n" not in str(caught.value)
    assert not outputs.path(outputs.certificate).exists()


def test_a_leak_names_three_ids_of_a_kind_and_parted_pairs_of_images_that_are_used():
    result = split(world())
    cases = result.cases.copy()
    a, b = (cases.index[(cases.split == "train") & (cases.fold == fold)][:4] for fold in (0, 1))
    cases.loc[a, "patient_id"] = cases.loc[b, "patient_id"] = ["P1", "P2", "P3", "P4"]
    row = {"kind": "near", "hamming": 3, "correlation": 0.97, "joined": True}
    one, other = cases.image_id[a[0]], cases.image_id[b[0]]
    dropped = cases.index[cases.split == "hold_out"][0]
    cases.loc[dropped, "split"] = "dropped"
    gone = cases.image_id[dropped]
    for image_a, image_b in ((gone, one), (other, one), (one, gone)):
        result.pairs.loc[len(result.pairs)] = {"image_a": image_a, "image_b": image_b, **row}
    with pytest.raises(LeakError, match=r"^cases\.parquet: 4 patients in both fold 0 and fold 1; ") as caught:
        leaks.refuse(cases, result.pairs, None)
    assert f": patient P1 has {other} in fold 1 and {one} in fold 0; patient P2 has " in caught.value.what
    assert "patient P3" in caught.value.what
    assert "patient P4" not in caught.value.what
    assert gone not in caught.value.what
    assert caught.value.what.endswith(f"; near pair {other} in fold 1 and {one} in fold 0")


def test_certify_takes_no_tables_but_those_that_split_wrote(stage):
    """A real pair could be parted, or rows taken out, and all that is left share nothing."""
    result = split(world())
    one, other = result.cases.image_id[result.cases.fold == 0].iloc[[0, 1]]
    near = {"kind": "near", "hamming": 3, "correlation": 0.97, "joined": True}
    result.pairs.loc[len(result.pairs)] = {"image_a": one, "image_b": other, **near}
    write_prepared(result)
    stage("certify")
    outputs.pairs.write(result.pairs.iloc[:-1])
    with pytest.raises(
        DataError, match=r"splits/ledger\.json: it is of other tables\. Run `dvc repro split`"
    ):
        stage("certify")
    outputs.pairs.write(result.pairs)
    cases, patients = result.cases, outputs.patients.read()
    gone = cases.image_id[cases.fold == 0][:5]
    outputs.cases.write(cases[~cases.image_id.isin(gone)])
    outputs.patients.write(patients[~patients.image_id.isin(gone)])
    with pytest.raises(DataError, match="it is of other tables"):
        stage("certify")


def test_an_image_that_stands_twice_is_told_in_one_line():
    result = split(world())
    doubled = pd.concat([result.cases, result.cases[result.cases.split == "train"].iloc[:1]])
    with pytest.raises(LeakError, match=r"^cases\.parquet: 1 images stand twice: ISIC_\d+\. Run"):
        leaks.refuse(doubled, result.pairs, None)


def test_certify_does_not_send_people_to_the_published_files(stage):
    write_prepared(split(world()))
    patients = outputs.patients.read()
    outputs.patients.write(patients.iloc[1:])
    with pytest.raises(DataError, match=r"Every case has its row of patient fields.*`dvc repro impute`"):
        stage("certify")


def test_certify_says_the_warnings_of_the_prepared_table(stage, capsys):
    result = split(world())
    result.cases.loc[(result.cases.fold == 1) & (result.cases.diagnosis == "MEL"), "diagnosis"] = "NV"
    write_prepared(result)
    stage("certify")
    line = "warning: diagnoses by fold: A diagnosis with as many groups as folds stands in every fold. (1 of "
    assert capsys.readouterr().out.startswith(line)
    assert outputs.read_json(outputs.path(outputs.certificate))["prepared"]["warnings"] == 1


def test_train_refuses_a_forged_certificate_and_one_of_other_tables(stage):
    write_prepared(split(world()))
    stage("certify")
    file = outputs.path(outputs.certificate)
    true = outputs.read_json(file)
    outputs.write_json(file, {**true, "images": {**true["images"], "train": 1}})
    with pytest.raises(LeakError, match="it was edited, or is none"):
        stage("train", "lite0", "0")
    outputs.write_json(file, true)
    outputs.patients.write(outputs.patients.read().iloc[::-1])
    with pytest.raises(LeakError, match="it is for other tables: patients differ"):
        stage("train", "lite0", "0")


def write_read(merged):
    """Write what `split` reads, as `ingest` and `locate` do."""
    for release, facts in facts_of(merged).items():
        rows = merged[merged.release == release].drop(columns="release")
        more = {"part": "train", "row": range(len(rows)), "raw_label": "", "raw_site": "", "rule_id": "rule"}
        outputs.releases.of(release).write(rows.assign(**more))
        more = {"part": "train", "file": "a.jpg", "bytes": 1, "phash": np.uint64(0), "problem": None}
        outputs.facts.of(release).write(facts.assign(**more))
        outputs.write_lines(outputs.path(outputs.located.format(release)), facts.image_id)


def test_split_tells_which_seen_pairs_are_of_no_named_release(stage, project, capsys):
    merged = world()
    write_read(merged)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["split"]["same_picture"] = [["ISIC_0000164", merged.image_id[0]], list(merged.image_id[:2])]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    stage("split")
    told = "split.same_picture: ISIC_0000164 of no named release; their pairs are left out"
    assert told in capsys.readouterr().out


def test_split_keeps_the_pairs_of_too_large_a_group_in_the_file_that_it_names(stage, project):
    merged = world()
    a, b = merged.image_id[merged.release == "isic2020"].iloc[[0, -1]]
    merged.loc[merged.image_id == b, "duplicate_of"] = a
    write_read(merged)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["split"]["max_group"] = 4  # of one lesion or patient alone there are no more
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(DataError, match=re.escape("(reports/splits/large_group.csv names the pairs)")):
        stage("split")
    kept = pd.read_csv(project / "reports" / "splits" / "large_group.csv")
    assert kept[["image_a", "image_b", "kind"]].to_numpy().tolist() == [[a, b, "official"]]
    params["split"]["max_group"] = 200
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    stage("split")
    assert not list(project.glob("reports/splits/large_group.csv"))
