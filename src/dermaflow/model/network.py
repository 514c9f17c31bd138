"""The network: image and patient in, logits with and without patient data, features and maps out.

    image (n, h, w, 3) uint8 -> normalised -> backbone -> maps (n, width, y, x) -> mean -> features
    middle       = mean and deviation of the maps half-way  tells images of other things apart: bundle.ood
    plain_logits = W features + b                          meaningful alone: patients are dropped in training
    logits       = plain_logits + U embedding(patient)     linear in the features, so the maps stay exact
    cam          = W maps                                  its mean over y and x, plus b, is plain_logits

Five dropouts over one shared linear layer, outputs averaged (ISIC 2020's winner, arXiv:2010.05351), are the
same as one linear layer over the average of five dropouts, which costs nothing; so it is written that way.
"""

import difflib
from typing import Any, Final, NamedTuple

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dermaflow.errors import TrainingError
from dermaflow.impute.apply import FEATURES
from dermaflow.model import weights
from dermaflow.model.params import ModelParams

EMBEDDING: Final = 32
"""Width of the patient embedding."""


class Output(NamedTuple):
    """What the network says of n cases.

    Attributes:
        logits: shape (n, classes), with patient data (equal to plain_logits where the branch is off).
        plain_logits: shape (n, classes), from the image alone.
        features: shape (n, width), pooled.
        cam: shape (n, classes, y, x), class activation maps.
        middle: shape (n, 2 * channels), means and standard deviations of the maps half-way through.
    """

    logits: Tensor
    plain_logits: Tensor
    features: Tensor
    cam: Tensor
    middle: Tensor


class Network(nn.Module):
    """One member: a timm backbone, a linear head, and the patient branch.

    Attributes:
        width: number of pooled features.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, params: ModelParams, backbone: nn.Module, classes: int) -> None:
        """Put new layers on a backbone that has none of its own (`num_classes=0`)."""
        super().__init__()
        config: dict[str, Any] = getattr(backbone, "pretrained_cfg", {})
        self.backbone = backbone
        self.width = int(getattr(backbone, "num_features"))  # noqa: B009 - nn.Module's own types hide it
        self.half_way = (len(getattr(backbone, "feature_info")) + 1) // 2  # noqa: B009 - of five the fourth
        for name, key in (("mean", "mean"), ("deviation", "std")):  # of the pretraining, as timm knows it
            value = 255 * torch.tensor(config[key]).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.dropout, self.dropout_draws = params.dropout, params.dropout_draws
        self.patient_drop = params.patient_drop
        self.head = nn.Linear(self.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.patient: nn.Sequential | None = patient_branch(classes) if params.patient else None
        for parameter, stage in stages(backbone).items() if params.frozen_stages else ():
            backbone.get_parameter(parameter).requires_grad_(stage >= params.frozen_stages)

    def train(self, mode: bool = True) -> "Network":  # noqa: FBT001, FBT002 - torch's own signature
        """Go to training mode, but for frozen layers: their batch-norm statistics stay too."""
        super().train(mode)
        for module in self.backbone.modules():
            within = list(module.parameters())  # not its own alone: XCiT's root owns frozen ones only
            if within and not any(parameter.requires_grad for parameter in within):
                module.eval()
        return self

    def forward(self, image: Tensor, patient: Tensor) -> Output:
        """Run the network.

        Args:
            image: shape (n, h, w, 3), uint8 RGB; in memory this is channels_last already.
            patient: shape (n, 11), float32, `impute.apply.FEATURES`; ignored where the branch is off.
        """
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean) / self.deviation
        maps, half_way = self._maps(pixels)
        variance, mean = torch.var_mean(half_way, (2, 3), correction=0)
        features = maps.mean((2, 3))
        plain = self.head(self._dropped(features))
        logits = plain + self._patient_logits(patient)
        cam = torch.einsum("nfyx,cf->ncyx", maps, self.head.weight)
        return Output(logits, plain, features, cam, torch.cat([mean, variance.sqrt()], dim=1))

    def new_layers(self) -> list[nn.Parameter]:
        """The parameters that no pretraining has seen."""
        added = [self.head] if self.patient is None else [self.head, self.patient]
        return [parameter for module in added for parameter in module.parameters()]

    def _maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps: Tensor
        half_way: Tensor
        maps, [half_way] = self.backbone.forward_intermediates(pixels, [self.half_way])  # type: ignore[operator]
        if maps.ndim == 3:  # noqa: PLR2004 - transformers: tokens (n, prefix + side * side, width)
            tokens = maps[:, int(getattr(self.backbone, "num_prefix_tokens", 0)) :]
            side = round(tokens.shape[1] ** 0.5)
            maps = tokens.transpose(1, 2).reshape(-1, self.width, side, side)
        elif maps.shape[1] != self.width:  # Swin and its kin: (n, y, x, width)
            maps = maps.permute(0, 3, 1, 2)
        return maps, half_way

    def _dropped(self, features: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return features
        draws = features.new_full((self.dropout_draws, *features.shape), 1 - self.dropout)
        return features * (torch.bernoulli(draws).mean(0) / (1 - self.dropout))

    def _patient_logits(self, patient: Tensor) -> Tensor:
        if self.patient is None:
            return 0 * patient[:, :1]  # keeps the input, so that every exported network has the same
        known: Tensor = self.patient(patient)
        if self.training and self.patient_drop > 0:
            known = known * torch.bernoulli(known.new_full((len(known), 1), 1 - self.patient_drop))
        return known


def build(params: ModelParams, classes: int, *, pretrained: bool = True) -> Network:
    """Make a network; call `torch.manual_seed` before, its new layers are drawn.

    Args:
        params: one entry of `models`.
        classes: number of logits.
        pretrained: load `params.weights`; not needed when a trained state dict follows.

    Raises:
        TrainingError: timm knows no such backbone, it can't see smaller pictures first, its maps or stages
            are of no known kind or fewer than are to be frozen, or its weights don't fit.
    """
    if not timm.is_model(params.backbone):
        near = difflib.get_close_matches(params.backbone, timm.list_models(), n=3)
        hint = f"Did you mean {', '.join(near)}?" if near else "See timm.list_models()."
        raise TrainingError(f"timm has no model {params.backbone!r}", "models.<name>.backbone", hint)
    published = timm.get_pretrained_cfg(params.backbone, allow_unregistered=True)  # None: a name of before
    one_size = published is not None and published.fixed_input_size  # transformers
    fixed = {"img_size": params.input_px} if one_size else {}
    if fixed and params.early_px:
        raise TrainingError(
            f"{params.backbone} takes images of one size, not {params.early_px} px first",
            "models.<name>.early_px",
            "Set it to null, and early_epochs to 0.",
        )
    try:
        backbone = timm.create_model(params.backbone, num_classes=0, **fixed)
    except Exception as error:  # noqa: BLE001 - some families refuse a size here, each in its own way
        raise _unfit(params.backbone, error) from None
    patches = getattr(backbone, "patch_embed", None)
    side = getattr(patches, "patch_size", 1)
    side = side[0] if isinstance(side, tuple) else int(side)
    if getattr(getattr(patches, "proj", None), "padding", (0, 0)) != (0, 0):
        side = 1  # PVT: they overlap, and the border is padded
    if params.input_px % side:
        raise TrainingError(
            f"{params.backbone} cuts images into patches of {side} px, and would not see the last "
            f"{params.input_px % side} of {params.input_px}",
            "models.<name>.input_px",
            f"Set it to a multiple of {side}.",
        )
    if pretrained:
        weights.load(backbone, params.backbone, params.weights, **fixed)
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = params.bn_momentum
    try:
        network = Network(params, backbone, classes)
        _try(network, params)
        numbers = stages(backbone) if params.frozen_stages or params.layer_decay < 1 else {}
    except Exception as error:  # noqa: BLE001 - each family fails in its own way
        raise _unfit(params.backbone, error) from None
    count = 1 + max(numbers.values(), default=-1)
    if params.frozen_stages > count:
        raise TrainingError(
            f"{params.backbone} has {count} stages, of which {params.frozen_stages} can't be frozen",
            "models.<name>.frozen_stages",
            f"Set it to {count} at most; then all of the backbone stays as pretrained.",
        )
    return network


def _unfit(backbone: str, error: Exception) -> TrainingError:
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return TrainingError(
        f"{backbone} does not fit this network ({why})",
        "models.<name>.backbone",
        "Take another; with another input_px, no early_px, frozen_stages 0, layer_decay 1 it may fit.",
    )


def _try(network: Network, params: ModelParams) -> None:
    """Show a fresh network an image of each size, so that what can't be used fails before any training."""
    network.eval()
    with torch.no_grad():
        for px in filter(None, (params.input_px, params.early_px)):
            network(torch.zeros(1, px, px, 3, dtype=torch.uint8), torch.zeros(1, len(FEATURES)))
    network.train()


def stages(backbone: nn.Module) -> dict[str, int]:
    """Return the number of each parameter's stage, 0 for the stem, as timm groups them."""
    matcher = getattr(backbone, "group_matcher")(coarse=True)  # noqa: B009 - nn.Module's own types hide it
    found: dict[str, int] = group_parameters(backbone, matcher, reverse=True)
    return found


def patient_branch(classes: int) -> nn.Sequential:
    """Small perceptron (n, 11) -> (n, classes); its last layer starts at 0, as if it were off."""
    last = nn.Linear(EMBEDDING, classes, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(
        nn.Linear(len(FEATURES), EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(), last
    )
