"""The suite of the prepared table: what training is about to read, filled and split."""

import pandas as pd

from dermaflow.quality.rules import (
    CRITICAL,
    WARNING,
    Check,
    Rule,
    between,
    contains,
    given,
    holds,
    not_empty,
    said,
    unique,
    words,
)
from dermaflow.taxonomy import SEXES, SITES


def checks(cases: pd.DataFrame, patients: pd.DataFrame, folds: int) -> list[Check]:
    """Return the checks of the prepared table.

    Args:
        cases: rows of outputs.cases.
        patients: rows of outputs.patients.
        folds: number of folds that were dealt.
    """
    kept = cases[cases["split"] != "dropped"].drop(columns=["age_years", "sex", "site"])
    frame = kept.merge(patients, on="image_id", how="left", indicator=True)
    frame["has_patient_row"] = said(frame.pop("_merge").astype("str") == "both")
    train = frame["split"] == "train"
    frame["label_where_it_belongs"] = said(frame["diagnosis"].notna() == train)
    frame["fold_where_it_belongs"] = said((frame["fold"] >= 0) == train)
    place = frame["split"] + " " + frame["fold"].astype("str")
    for name in ("group", "patient_id", "lesion_id"):
        frame[f"{name}_in_one_place"] = said(
            place.groupby(frame[name]).transform("nunique").reindex(frame.index) == 1, frame[name].notna()
        )
    for name in ("age_missing", "sex_missing", "site_missing"):
        frame[name] = said(frame[name].astype("object"))
    strangers = patients[["image_id"]].copy()
    strangers["is_a_case"] = said(strangers["image_id"].isin(set(kept["image_id"])))
    return [
        Check("prepared", frame, _rules(folds)),
        Check(
            "patients",
            strangers,
            (not_empty(), unique("image_id"), holds("is_a_case", "Every row is of a case that is used.")),
        ),
        Check("diagnoses by fold", _by_fold(frame[train], folds), _fold_rules(), key="diagnosis"),
    ]


def _rules(folds: int) -> tuple[Rule, ...]:
    return (
        not_empty(),
        given("image_id"),
        unique("image_id"),
        words("split", ["train", "hold_out"]),
        contains("split", ["train", "hold_out"], CRITICAL),
        words("fold", list(range(-1, folds))),
        contains("fold", list(range(-1, folds)), CRITICAL),
        between("group", 0, None),
        between("width", 1, None),
        between("height", 1, None),
        given("store"),
        holds("has_patient_row", "Every case has its row of patient fields."),
        holds("label_where_it_belongs", "Training rows have a diagnosis here, hold-out rows have none."),
        holds("fold_where_it_belongs", "Training rows have a fold, hold-out rows have none."),
        holds("group_in_one_place", "No group stands in two folds or splits."),
        holds("patient_id_in_one_place", "No patient stands in two folds or splits."),
        holds("lesion_id_in_one_place", "No lesion stands in two folds or splits."),
        given("age_years"),
        between("age_years", 0, 120),
        given("sex"),
        words("sex", [*SEXES, "unknown"]),
        given("site"),
        words("site", [*SITES, "unknown"]),
        given("age_missing"),
        given("sex_missing"),
        given("site_missing"),
    )


def _by_fold(train: pd.DataFrame, folds: int) -> pd.DataFrame:
    """Return a row a diagnosis and fold: whether it stands there, if it has groups enough, and in another."""
    every = pd.MultiIndex.from_product(
        [sorted(train["diagnosis"].dropna().unique()), range(folds)], names=["diagnosis", "fold"]
    )
    rows = train.groupby(["diagnosis", "fold"]).size().reindex(every, fill_value=0).reset_index(name="images")
    enough = train.groupby("diagnosis")["group"].nunique() >= folds
    rows["in_fold"] = said(rows["images"] > 0, rows["diagnosis"].map(enough).astype(bool))
    total = rows.groupby("diagnosis")["images"].transform("sum")
    rows["in_another_fold"] = said(rows["images"] < total)
    return rows


def _fold_rules() -> tuple[Rule, ...]:
    return (
        not_empty(),
        holds("in_fold", "A diagnosis with as many groups as folds stands in every fold.", WARNING),
        holds(
            "in_another_fold",
            "A diagnosis stands in more than one fold; else one network never learns it, and all together "
            "hardly ever name it.",
            WARNING,
        ),
    )
