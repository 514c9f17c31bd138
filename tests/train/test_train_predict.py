"""Predictions are the mean over the views, in float32."""

import numpy as np
import pytest
import torch

from dermaflow.bundle.apply import dihedral_views
from dermaflow.model.network import build
from dermaflow.train.predict import predict


@pytest.mark.parametrize("views", [1, 4, 8])
def test_each_figure_is_the_mean_over_the_views(views, reader, tiny_model):
    torch.manual_seed(0)
    network = build(tiny_model(), 3).train()
    torch.nn.init.normal_(network.patient[-1].weight)
    ids = [f"i{n}" for n in range(5)]
    patients = np.random.default_rng(0).random((5, 11), np.float32)
    found = predict(network, reader, ids, patients, input_px=32, views=views, batch=2)
    assert network.training  # as it came
    network.eval()
    pixels = np.stack([reader.pixels(image_id, 32) for image_id in ids])
    for name, values in found.items():
        with torch.no_grad():
            outputs = [
                getattr(network(torch.from_numpy(view), torch.from_numpy(patients)), name).numpy()
                for view in dihedral_views(pixels, views)
            ]
        wanted = outputs[0] if name == "middle" else np.mean(outputs, axis=0)  # of the untouched view
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, atol=1e-5)
    assert set(found) == {"logits", "plain_logits", "features", "middle"}


def test_no_images_give_empty_arrays_of_the_right_width(reader, tiny_model):
    network = build(tiny_model(), 3)
    found = predict(network, reader, [], np.zeros((0, 11), np.float32), input_px=32, views=4, batch=2)
    assert {name: value.shape for name, value in found.items()} == {
        "logits": (0, 3),
        "plain_logits": (0, 3),
        "features": (0, network.width),
        "middle": (0, 96),
    }
