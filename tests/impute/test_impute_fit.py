"""The imputer sees training rows only, and fills a table as it fills a patient."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermaflow.errors import DataError
from dermaflow.impute import fitting
from dermaflow.impute.apply import Imputer, Patient
from dermaflow.impute.params import ImputeParams
from dermaflow.taxonomy import SEXES, SITES


def cases(rows, split="train"):
    frame = pd.DataFrame(rows, columns=["age_years", "sex", "site"])
    frame = frame.astype({"age_years": "float32", "sex": "str", "site": "str"})
    return frame.assign(split=split, image_id=[f"ISIC_{i:07d}" for i in range(len(frame))])


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


def test_a_word_with_too_many_gaps_is_left_unknown_and_an_age_is_filled_all_the_same():
    rows = [
        (None if i < 2 else 50.0, None if i < 2 else "male", None if i < 1 else "torso") for i in range(20)
    ]
    fitted = fitting.fit(cases(rows), ImputeParams(max_missing=0.05))
    assert fitted.imputer == Imputer(50.0, "unknown", "torso")
    assert fitted.left_unknown == ("sex",)
    assert fitted.to_json()["missing"] == {"age": 2, "sex": 2, "site": 1}
    assert fitted.to_json()["missing_share"] == {"age": 0.1, "sex": 0.1, "site": 0.05}


def test_unknown_can_be_asked_for():
    fitted = fitting.fit(cases(TWENTY), ImputeParams(sex="unknown", site="unknown"))
    assert (fitted.imputer.sex, fitted.imputer.site) == ("unknown", "unknown")


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


def test_json_is_read_back_by_the_imputer():
    fitted = fitting.fit(cases(TWENTY), ImputeParams())
    assert Imputer.from_json(fitted.to_json()) == fitted.imputer


PATIENT = st.tuples(
    st.none() | st.integers(0, 24).map(lambda n: n * 5.0),
    st.none() | st.sampled_from(SEXES),
    st.none() | st.sampled_from(SITES),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PATIENT, min_size=1, max_size=20))
def test_a_table_is_filled_as_each_patient_is(rows):
    imputer = Imputer(51.5, "female", "unknown")
    table = fitting.apply_table(imputer, cases(rows))
    for row, given_values in zip(table.itertuples(), rows, strict=True):
        filled = imputer.fill(Patient(*given_values))
        assert (row.age_years, row.sex, row.site) == (filled.age_years, filled.sex, filled.site)
        missing = [name for name in ("age", "sex", "site") if getattr(row, f"{name}_missing")]
        assert tuple(missing) == filled.imputed
    assert not table.isna().any(axis=None)
    assert np.array_equal(table.image_id, cases(rows).image_id)


def test_the_service_side_needs_no_pandas():
    import subprocess
    import sys

    code = "import sys, dermaflow.impute.apply; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
