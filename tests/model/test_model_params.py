"""A wrong value of a model names its key."""

import pytest

from dermaflow import params
from dermaflow.errors import ParamsError
from dermaflow.model.params import ModelParams


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("weights: somewhere", "models.a.weights is 'somewhere'"),
        ("input_px: 512", "input_px 512 is more than stored_px 160"),
        ("early_px: 512\n    early_epochs: 1", "early_px 512 is more than stored_px 160"),
        ("early_px: 96", "early_px and early_epochs go together"),
        (
            "early_px: 96\n    early_epochs: 4\n    epochs: 4",
            "early_epochs 4 leave none of 4 epochs at input_px",
        ),
        ("loss: logit_adjusted\n    class_weights: balanced", "set class_weights to none"),
        ("ema: 1.0", "models.a.ema is 1.0"),
        ("sampler_power: 50", r"For 50 % write 0\.5"),
        ("learning_rate: 1", "models.a.learning_rate is no known key"),
    ],
)
def test_a_wrong_value_names_its_key(line, message, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(f"models:\n  a:\n    {line}\n")
    with pytest.raises(ParamsError, match=message) as raised:
        params.load(ModelParams, "a", file=file)
    assert "{" not in str(raised.value)  # no whole section
