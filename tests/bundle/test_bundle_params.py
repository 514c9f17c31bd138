"""registry.name is held to the store's own rule before anything is trained."""

import pytest
from bentoml._internal.tag import validate_tag_str

from dermaflow.bundle.params import RegistryParams


@pytest.mark.parametrize(
    "name", ["a", "skin-ensemble", "0.a_b", "a" * 63, "skin-", "a" * 64, "-a", "a b", "A", ""]
)
def test_a_lineage_is_named_as_the_store_will_take_it(name):
    def accepted(check):
        try:
            check()
        except ValueError:
            return False
        return True

    assert accepted(lambda: RegistryParams(name=name, notice="")) == accepted(lambda: validate_tag_str(name))
