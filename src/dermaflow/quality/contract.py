"""What the releases promise each other: suites over several years' tables."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from dermaflow.quality.rules import WARNING, Check, holds, said
from dermaflow.taxonomy import REDUCED

_YEARS: Final = {"isic2018", "isic2019", "isic2020"}
"""The challenges; any other release is a collection of the archive, which may list their images again."""


def checks(tables: Mapping[str, pd.DataFrame], facts: Mapping[str, pd.DataFrame]) -> list[Check]:
    """Return the checks between releases; those whose releases are not both there are left out.

    Args:
        tables: rows of outputs.releases, a release.
        facts: rows of outputs.facts, a release.
    """
    found = [_parts(tables, facts)]
    if {"isic2018", "isic2019"} <= set(tables):
        found.append(_shared(tables["isic2018"], tables["isic2019"]))
    if "isic2020" in tables and _YEARS & set(tables) > {"isic2020"}:
        found.append(_apart(tables))
    found += [_agrees(name, tables) for name in tables if name not in _YEARS and len(tables) > 1]
    repeats = [table for table in tables.values() if table["duplicate_of"].notna().any()]
    if repeats:
        found.append(_duplicates(pd.concat(repeats, ignore_index=True)))
    return found


def _train(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["part"] == "train"]


def _parts(tables: Mapping[str, pd.DataFrame], facts: Mapping[str, pd.DataFrame]) -> Check:
    """No training image is a test image of another year; 2018's are in no table, only in their folder."""
    train = pd.concat([_train(table)[["image_id"]] for table in tables.values()]).drop_duplicates()
    both = [*tables.values(), *facts.values()]
    test = {image for table in both for image in table.loc[table["part"] == "test", "image_id"]}
    train["not_in_test"] = said(~(train["image_id"].isin(test) | (train["image_id"] + REDUCED).isin(test)))
    says = "No training image stands in a year's test table or lies in its folder of test images."
    return Check("train and test", train, (holds("not_in_test", says),))


def _shared(first: pd.DataFrame, second: pd.DataFrame) -> Check:
    """2018 lies within 2019, with equal lesions and labels."""
    fields = ["image_id", "diagnosis", "lesion_id", "sex", "age_years"]
    both = _train(first)[fields].merge(
        _train(second)[fields], on="image_id", how="left", suffixes=("_2018", "_2019"), indicator=True
    )
    both["in_2019"] = said(both.pop("_merge").astype("str") == "both")
    agree: dict[str, Any] = {}
    for name in ("lesion_id", "sex", "age_years"):
        a, b = both[f"{name}_2018"], both[f"{name}_2019"]
        agree[f"same_{name}"] = said(a == b, a.notna() & b.notna())
    # AKIEC of 2018 is AK or SCC in 2019; all else is equal.
    old, new = both["diagnosis_2018"], both["diagnosis_2019"]
    equal = (old == new) | ((old == "AKIEC") & new.isin(["AK", "SCC"]))
    agree["same_diagnosis"] = said(equal, old.notna() & new.notna())
    frame = both.assign(**agree)
    return Check(
        "2018 within 2019",
        frame,
        (
            holds("in_2019", "Every training image of 2018 is one of 2019."),
            holds("same_lesion_id", "A shared image shows the same lesion in both."),
            holds("same_diagnosis", "A shared image has the same label in both; AKIEC is AK or SCC."),
            holds("same_sex", "A shared image has the same sex in both.", WARNING),
            holds("same_age_years", "A shared image has the same age in both.", WARNING),
        ),
    )


def _apart(tables: Mapping[str, pd.DataFrame]) -> Check:
    """2020 shares no image with another year."""
    own = tables["isic2020"][["image_id"]].copy()
    years = (table for name, table in tables.items() if name in _YEARS - {"isic2020"})
    others = {image for table in years for image in table["image_id"]}
    own["only_in_2020"] = said(~own["image_id"].isin(others))
    return Check("2020 apart", own, (holds("only_in_2020", "No image of 2020 stands in another year."),))


def _agrees(name: str, tables: Mapping[str, pd.DataFrame]) -> Check:
    """A collection says of the challenges' images what the challenges say.

    What 2019 gives out smaller is the same image. 2018's AKIEC may be finer there, and what is UNK elsewhere
    anything benign. A row that is set aside for want of a diagnosis contradicts nothing, nor does an
    indeterminate one an UNK.
    """
    own = tables[name].loc[
        tables[name]["part"].isin(["train", "aside"]), ["image_id", "diagnosis", "rule_id"]
    ]
    others = pd.concat(
        [_train(table)[["image_id", "diagnosis"]] for other, table in tables.items() if other != name]
    )
    smaller = own["image_id"] + REDUCED
    known_as = smaller.where(smaller.isin(others["image_id"]), own["image_id"])
    others = others.rename(columns={"image_id": "known_as"})
    both = own.assign(known_as=known_as).merge(others, on="known_as", suffixes=("", "_other"))
    old, new = both["diagnosis_other"], both["diagnosis"]
    finer = ((old == "AKIEC") & new.isin(["AK", "SCC"])) | ((old == "UNK") & ~new.isin(["MEL", "BCC", "SCC"]))
    both["same_diagnosis"] = said((old == new) | finer, new.notna())
    why = both["rule_id"].where(new.isna()).str.removeprefix("archive:aside, ")
    silent = (why == "no diagnosis") | (why.str.startswith("indeterminate", na=False) & (old == "UNK"))
    both["used_here"] = said(silent, new.isna())
    return Check(
        f"{name} shared",
        both,
        (
            holds(
                "same_diagnosis",
                "An image that another release lists has the same label here (AKIEC and UNK may be finer).",
                WARNING,
            ),
            holds(
                "used_here",
                "What another release learns from is not set aside here, unless for want of a diagnosis.",
                WARNING,
            ),
        ),
    )


def _duplicates(table: pd.DataFrame) -> Check:
    """Both images of an official duplicate pair are listed, of one patient and with one label."""
    fields = ["image_id", "part", "patient_id", "diagnosis", "duplicate_of"]
    kept = table[fields].add_suffix("_kept")
    pairs = table.loc[table["duplicate_of"].notna(), fields].merge(
        kept, left_on="duplicate_of", right_on="image_id_kept", how="left"
    )
    there = pairs["image_id_kept"].notna()
    one_patient = pairs["patient_id"] == pairs["patient_id_kept"]
    both_known = pairs["patient_id"].notna() & pairs["patient_id_kept"].notna()
    frame = pairs.assign(
        kept_is_listed=said(there),
        kept_stays=said(pairs["duplicate_of_kept"].isna(), there),
        same_part=said(pairs["part"] == pairs["part_kept"], there),
        same_patient=said(one_patient, both_known & (pairs["part"] == "train")),
        same_test_patient=said(one_patient, both_known & (pairs["part"] != "train")),
        same_diagnosis=said(
            pairs["diagnosis"] == pairs["diagnosis_kept"],
            pairs["diagnosis"].notna() & pairs["diagnosis_kept"].notna(),
        ),
    )
    return Check(
        "official duplicates",
        frame,
        (
            holds("kept_is_listed", "The kept image of each pair is listed."),
            holds("kept_stays", "The kept image of a pair is not itself dropped."),
            holds("same_part", "Both images of a pair stand in the same part."),
            holds("same_patient", "Both images of a training pair are of the same patient."),
            # Ten test pairs of 2020 name two patients: four patient ids that stand for two people.
            holds("same_test_patient", "Both images of a test pair are of the same patient.", WARNING),
            holds("same_diagnosis", "Both images of a pair have the same diagnosis."),
        ),
    )
