"""The views of the labels: one definition of each."""

import numpy as np
import pytest

from dermaflow.taxonomy import DIAGNOSES, EIGHT, FOUR, MALIGNANT, NAMES, NINE, SEVEN, TWO, VIEWS, change_view


def test_the_seven_class_view_leaves_out_unk_and_joins_ak_and_scc():
    nine = np.random.default_rng(0).dirichlet(np.ones(9), 5)
    seven = change_view(nine, NINE, SEVEN)
    at = {code: i for i, code in enumerate(DIAGNOSES)}
    kept = 1 - nine[:, at["UNK"]]
    assert seven[:, SEVEN.classes.index("AKIEC")] == pytest.approx(
        (nine[:, at["AK"]] + nine[:, at["SCC"]]) / kept
    )
    assert seven.sum(axis=1) == pytest.approx(1)


def test_a_finer_view_can_not_be_made():
    with pytest.raises(ValueError, match="can't be made"):
        change_view(np.ones((1, 7)) / 7, SEVEN, NINE)


def test_priors_are_summed_without_renormalising():
    priors = np.full((1, 9), 1 / 9)
    assert change_view(priors, NINE, SEVEN, renormalise=False).sum() == pytest.approx(8 / 9)


def test_akiec_is_in_the_class_that_joins_ak_and_scc_and_left_out_where_they_are_apart():
    assert SEVEN.target("AKIEC") == SEVEN.target("SCC") == SEVEN.target("AK") == 3
    assert (TWO.label("AKIEC"), FOUR.label("AKIEC")) == ("OTHER", "OTHER")
    assert NINE.target("AKIEC") is EIGHT.target("AKIEC") is None
    assert EIGHT.target("UNK") is None


@pytest.mark.parametrize("view", VIEWS.values())
def test_every_class_has_a_name_and_a_side(view):
    assert set(view.classes) <= set(NAMES)
    assert {"MEL", "BCC"} <= MALIGNANT & set(view.classes)
