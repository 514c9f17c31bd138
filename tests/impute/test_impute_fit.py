"""The imputer sees training rows only, and fills a table as it fills a patient."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermaflow.errors import DataError
from dermaflow.impute import fitting
from dermaflow.impute.apply import FEATURES, Imputer, Patient, vectors
from dermaflow.impute.params import ImputeParams
from dermaflow.taxonomy import SEXES, SITES


def cases(rows, split="train", release="isic2019"):
    frame = pd.DataFrame(rows, columns=["age_years", "sex", "site"])
    frame = frame.astype({"age_years": "float32", "sex": "str", "site": "str"})
    return frame.assign(split=split, release=release, image_id=[f"ISIC_{i:07d}" for i in range(len(frame))])


TWENTY = [(40.0, "male", "torso")] * 11 + [(60.0, "female", "head/neck")] * 9


def test_mean_age_and_the_commonest_words_stand_in():
    fitted = fitting.fit(cases(TWENTY), ImputeParams())
    assert fitted.imputer == Imputer(49.0, "male", "torso")
    assert fitting.fit(cases(TWENTY), ImputeParams(age="median")).imputer.age_years == 40


def test_hold_out_rows_are_refused_and_cannot_change_the_fit():
    table = pd.concat([cases(TWENTY), cases([(90.0, "female", "torso")] * 30, "hold_out")])
    with pytest.raises(DataError, match="30 rows are not of the training split"):
        fitting.fit(table, ImputeParams())
    assert fitting.fit(table[table.split == "train"], ImputeParams()).imputer.age_years == 49


def test_a_column_with_more_gaps_than_allowed_in_a_release_stops_and_names_the_remedy():
    full = cases(TWENTY * 5, release="isic2018")
    gaps = cases([(40.0, "male", None)] * 2 + TWENTY[:18])
    table = pd.concat([full, gaps], ignore_index=True)
    with pytest.raises(
        DataError, match=r"site is missing in 10\.00% of the training rows of isic2019 \(2 of 20\)"
    ) as info:
        fitting.fit(table, ImputeParams())
    assert "impute.exceptions.site.isic2019" in str(info.value)
    declared = ImputeParams(exceptions={"site": {"isic2019": 0.1}})
    fitted = fitting.fit(table, declared)
    assert fitted.imputer.site == "torso"
    assert fitted.to_json()["missing"] == {"age": 0, "sex": 0, "site": 2}
    assert fitted.to_json()["missing_share_by_release"]["site"] == {"isic2018": 0.0, "isic2019": 0.1}
    elsewhere = ImputeParams(exceptions={"site": {"isic2018": 0.1}, "sex": {"isic2019": 0.1}})
    with pytest.raises(DataError, match="site is missing"):
        fitting.fit(table, elsewhere)


def test_constants_stand_in_where_asked_even_for_a_column_without_any_value():
    params = {"age": "constant", "sex": "constant", "site": "constant"}
    fitted = fitting.fit(cases(TWENTY), ImputeParams(**params, constants={"age": 55}))
    assert fitted.imputer == Imputer(55.0, "unknown", "unknown")
    bare = cases([(None, None, None)] * 3)
    allowed = {name: {"isic2019": 1.0} for name in ("age", "sex", "site")}
    assert fitting.fit(bare, ImputeParams(**params, exceptions=allowed)).imputer.age_years == 50


def test_knn_fills_from_the_patients_that_are_alike():
    rows = [(30.0, "male", "torso")] * 20 + [(80.0, "female", "head/neck")] * 20
    params = ImputeParams(age="knn", sex="knn", site="knn", neighbours=5)
    imputer = fitting.fit(cases(rows), params).imputer
    young = imputer.fill(Patient(35.0, None, None))
    assert (young.age_years, young.sex, young.site) == (35.0, "male", "torso")
    woman = imputer.fill(Patient(None, "female", None))
    assert (woman.age_years, woman.site, woman.imputed) == (80.0, "head/neck", ("age", "site"))
    nothing = imputer.fill(Patient())
    assert (nothing.age_years, nothing.sex) == (55.0, "female")


def test_knn_counts_all_that_are_equally_near_whatever_the_last_bits_say():
    """9 years and another sex are as far as 34 years: 9 / 25 + 1 is not 34 / 25 in binary."""
    rows = [(59.0, "male", "torso")] * 5 + [(84.0, "female", "torso")] * 5 + [(20.0, "male", "torso")] * 9
    imputer = fitting.fit(cases(rows), ImputeParams(site="knn", neighbours=5)).imputer
    alike = imputer.alike
    assert alike is not None
    assert alike.fill(Patient(50.0, "female", None)).age_years == (59 * 5 + 84 * 5) / 10


def test_knn_of_one_column_leaves_the_others_to_their_rule():
    rows = [(30.0, "male", "torso")] * 30 + [(80.0, "female", "head/neck")] * 20
    imputer = fitting.fit(cases(rows), ImputeParams(site="knn")).imputer
    filled = imputer.fill(Patient(80.0, None, None))
    assert (filled.sex, filled.site) == ("male", "head/neck")


def test_of_equally_common_words_the_first_by_name_stands_in_whatever_the_order():
    rows = [(40.0, "male", "torso"), (40.0, "female", "head/neck")]
    for order in (rows, rows[::-1]):
        assert fitting.fit(cases(order), ImputeParams()).imputer == Imputer(40.0, "female", "head/neck")


@pytest.mark.parametrize("column", ["age_years", "sex", "site"])
def test_a_column_without_any_value_is_an_error(column):
    table = cases(TWENTY)
    table[column] = pd.Series([None] * len(table), dtype=table[column].dtype)
    with pytest.raises(DataError, match=f"no training row has a value in {column}"):
        fitting.fit(table, ImputeParams())


def test_no_row_is_an_error():
    with pytest.raises(DataError, match="no training row"):
        fitting.fit(cases([]), ImputeParams())


RULES = [ImputeParams(), ImputeParams(age="median", site="constant"), ImputeParams(age="knn", site="knn")]


@pytest.mark.parametrize("params", RULES, ids=["default", "median", "knn"])
def test_json_is_read_back_by_the_imputer(params):
    fitted = fitting.fit(cases(TWENTY), params)
    assert Imputer.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted.imputer


PATIENT = st.tuples(
    st.none() | st.integers(0, 24).map(lambda n: n * 5.0),
    st.none() | st.sampled_from(SEXES),
    st.none() | st.sampled_from(SITES),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(PATIENT, min_size=1, max_size=20), st.lists(PATIENT, min_size=1, max_size=20), st.integers(1, 9)
)
def test_a_table_is_filled_as_each_patient_is_under_every_rule(learned, rows, neighbours):
    learned = cases([*learned, (45.0, "male", "torso")])
    allowed = {name: {"isic2019": 1.0} for name in ("age", "sex", "site")}
    for params in RULES:
        changes = {"exceptions": allowed, "neighbours": neighbours}
        imputer = fitting.fit(learned, params.model_copy(update=changes)).imputer
        assert fitting.fit(learned[::-1], params.model_copy(update=changes)).imputer == imputer
        same_as_each_patient(imputer, rows)


def same_as_each_patient(imputer, rows):
    table = fitting.apply_table(imputer, cases(rows))
    for row, given_values in zip(table.itertuples(), rows, strict=True):
        filled = imputer.fill(Patient(*given_values))
        assert (row.age_years, row.sex, row.site) == (np.float32(filled.age_years), filled.sex, filled.site)
        missing = [name for name in ("age", "sex", "site") if getattr(row, f"{name}_missing")]
        assert tuple(missing) == filled.imputed
    assert not table.isna().any(axis=None)
    assert np.array_equal(table.image_id, cases(rows).image_id)


def test_the_service_side_needs_no_pandas():
    import subprocess
    import sys

    code = "import sys, dermaflow.impute.apply; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_networks_input_is_encoded_as_bundles_of_before_learned_it():
    filled = [
        Imputer(49.0, "unknown", "unknown").fill(patient)
        for patient in (Patient(75.0, "male", SITES[2]), Patient(None, "female", SITES[0]), Patient())
    ]
    sites = np.eye(len(SITES))
    assert vectors(filled) == pytest.approx(
        np.array(
            [
                [1, 1, *sites[2], 0, 0, 0],
                [-0.04, -1, *sites[0], 1, 0, 0],
                [-0.04, 0, *np.zeros(len(SITES)), 1, 1, 1],
            ]
        )
    )
    assert len(FEATURES) == 11
