"""Sections `train` and `augment` of params.yaml."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dermaflow.params import Params, Seed, Share

Count = Annotated[int, Field(ge=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]
Precision = Literal["auto", "float32", "bf16", "fp16"]


class TrainParams(Params):
    """What all models share; how each is built and for how long it trains stands in `models`."""

    section: ClassVar[str] = "train"

    seed: Seed = 7  # of weights, dropout, draws and augmentation
    threads: Count = 2  # of torch; weights are byte-equal only for the same number
    batch: Annotated[int, Field(ge=2)] = 32  # images a step, over all processes
    precision: Precision = "auto"  # auto: on a GPU bf16, or fp16 where it has no bf16; else float32
    monitor: Literal["accuracy", "balanced_accuracy", "melanoma_auc"] = "accuracy"  # on the validation fold
    patience: Count = 15  # epochs without a rise before stopping
    views: Literal[1, 4, 8] = 4  # test-time views of predictions, calibration and serving


class Augmentation(BaseModel):
    """One augmentation; `p: 0` switches it off."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    p: Share


class Turned(Augmentation):
    """Rotation by up to `limit_deg` either way."""

    limit_deg: Annotated[float, Field(gt=0, le=180)] = 90


class Tone(Augmentation):
    """Brightness or contrast by up to `limit`, a share."""

    limit: Annotated[float, Field(gt=0, le=1)] = 0.2


class Blurred(Augmentation):
    """Blur with a kernel of 3 to `kernel_px` pixels (odd)."""

    kernel_px: Annotated[int, Field(ge=3, le=31, multiple_of=1)] = 5

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.kernel_px % 2 == 0:
            raise ValueError(f"kernel_px {self.kernel_px} must be odd")
        return self


class Noise(Augmentation):
    """Gaussian noise; variance on the scale of 0 to 255."""

    variance: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=2000)]] = (5, 30)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.variance[0] > self.variance[1]:
            raise ValueError(f"variance {list(self.variance)} must ascend")
        return self


class Distorted(Augmentation):
    """Optical distortion by up to `limit`."""

    limit: Annotated[float, Field(gt=0, le=1)] = 1.0


class Grid(Distorted):
    """Distortion of a grid of `steps` by `steps` cells."""

    steps: Annotated[int, Field(ge=2, le=20)] = 5


class Elastic(Augmentation):
    """Elastic deformation: random shifts of `alpha` pixels, smoothed over `sigma` pixels.

    Smoothing takes most of them away: at the defaults pixels move by hundredths.
    """

    alpha: Annotated[float, Field(gt=0, le=100_000)] = 3.0
    sigma: Annotated[float, Field(ge=1)] = 50.0


class Equalized(Augmentation):
    """CLAHE: contrast evened out tile by tile, up to `clip`."""

    clip: Annotated[float, Field(ge=1, le=40)] = 4.0


class Coloured(Augmentation):
    """Shifts of hue (of 180), saturation and value (of 255)."""

    hue: Annotated[float, Field(ge=0, le=90)] = 10
    saturation: Annotated[float, Field(ge=0, le=255)] = 20
    value: Annotated[float, Field(ge=0, le=255)] = 10


class Moved(Augmentation):
    """Shift and scale by shares, rotation in degrees, either way; the border is mirrored."""

    shift: Half = 0.1
    scale: Half = 0.1
    keep_ratio: bool = False  # one scale for both axes; else width and height draw their own
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15


class Hole(Augmentation):
    """One black square hole of `side`, a share of the image's."""

    side: Annotated[float, Field(gt=0, lt=1)] = 0.375


class AugmentParams(Params):
    """The sixteen augmentations, in their order.

    Ranges are those of the ISIC 2020 winner (arXiv:2010.05351), but for wider scale and rotate_deg, and
    keep_ratio, which is true there. p is the chance of each. Of the four blurs and noises at most one is
    applied, so their p add up to 1 at most; the same holds for the three distortions. On by default are
    those that serve short trainings; the winner's p stand beside.
    """

    section: ClassVar[str] = "augment"

    transpose: Augmentation = Augmentation(p=0.5)  # 0.5
    flip: Augmentation = Augmentation(p=0.5)  # 0.5 horizontal, 0.5 vertical, each on its own
    rotate: Turned = Turned(p=0)  # 0; shift_scale_rotate turns already
    brightness: Tone = Tone(p=0.75)  # 0.75
    contrast: Tone = Tone(p=0.5)  # 0.75
    motion_blur: Blurred = Blurred(p=0)  # 0.175: one of four at 0.7
    median_blur: Blurred = Blurred(p=0)  # 0.175
    gaussian_blur: Blurred = Blurred(p=0)  # 0.175
    gauss_noise: Noise = Noise(p=0)  # 0.175
    optical_distortion: Distorted = Distorted(p=0)  # 0.2333: one of three at 0.7
    grid_distortion: Grid = Grid(p=0)  # 0.2333
    elastic: Elastic = Elastic(p=0)  # 0.2333
    clahe: Equalized = Equalized(p=0)  # 0.7
    hue_saturation_value: Coloured = Coloured(p=0.5)  # 0.5
    shift_scale_rotate: Moved = Moved(p=0.85, scale=0.15, rotate_deg=45)  # 0.85; 0.1, 15 degrees
    cutout: Hole = Hole(p=0)  # 0.7

    @property
    def blurs(self) -> tuple[Augmentation, ...]:
        """The group of which at most one is applied: three blurs and noise."""
        return self.motion_blur, self.median_blur, self.gaussian_blur, self.gauss_noise

    @property
    def distortions(self) -> tuple[Augmentation, ...]:
        """The group of which at most one is applied: three distortions."""
        return self.optical_distortion, self.grid_distortion, self.elastic

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        for name, group in (("blurs and noise", self.blurs), ("distortions", self.distortions)):
            total = sum(part.p for part in group)
            if total > 1 + 1e-9:
                raise ValueError(f"the p of {name} add up to {total:g}, must be 1 at most")
        return self
