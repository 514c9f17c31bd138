"""The sixteen augmentations (`AugmentParams`), composed once, the same bytes for the same draw.

Called in the processes that load images. Neither the process nor the order of the calls matters: each image
is seeded by (seed, epoch, draw).
"""

import os
import random
import warnings
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dermaflow.train.params import Augmentation, AugmentParams

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer one
import albumentations as A  # noqa: N812

Pixels = NDArray[np.uint8]

MIRRORED: Final = cv2.BORDER_REFLECT_101


class Augment:
    """Turns one image into another of the same diagnosis."""

    def __init__(self, params: AugmentParams) -> None:
        """Compose what `params` switches on, for square images of any side."""
        with warnings.catch_warnings():
            # An argument of an older version only warns, and a default takes its place: noise would drown
            # the image.
            warnings.filterwarnings("error", message="Argument.s. .* are not valid")
            self._compose = A.Compose(_transforms(params), strict=True)

    def __call__(self, pixels: Pixels, seed: int, epoch: int, draw: int) -> Pixels:
        """Augment one image.

        Args:
            pixels: shape (h, h, 3), RGB, of the side that the network is to see.
            seed: train.seed.
            epoch: from 0.
            draw: number of the image within its epoch, so that an image drawn twice differs.

        Returns:
            The same shape.
        """
        # One stream that all share. `set_random_seed` would give each augmentation the same numbers: then
        # one image in six comes untouched, and weak brightness goes with small turns.
        one, other = np.random.SeedSequence([seed, epoch, draw]).generate_state(2, np.uint64)
        self._compose.set_random_state(np.random.default_rng(one), random.Random(int(other)))  # noqa: S311
        changed: Pixels = self._compose(image=pixels)["image"]
        return np.ascontiguousarray(changed)


def _transforms(params: AugmentParams) -> list[Any]:
    """One to sixteen in the order of `AugmentParams`; images are resized before, which costs less."""
    return [
        *_on(params.transpose, A.Transpose),
        *_on(params.flip, A.HorizontalFlip),
        *_on(params.flip, A.VerticalFlip),
        *_on(params.rotate, A.Rotate, limit=params.rotate.limit_deg, border_mode=MIRRORED),
        *_on(
            params.brightness,
            A.RandomBrightnessContrast,
            brightness_limit=params.brightness.limit,
            contrast_limit=0,
        ),
        *_on(
            params.contrast,
            A.RandomBrightnessContrast,
            brightness_limit=0,
            contrast_limit=params.contrast.limit,
        ),
        *_one_of(params.blurs, _blurs(params)),
        *_one_of(params.distortions, _distortions(params)),
        *_on(params.clahe, A.CLAHE, clip_limit=params.clahe.clip),
        *_on(
            params.hue_saturation_value,
            A.HueSaturationValue,
            hue_shift_limit=params.hue_saturation_value.hue,
            sat_shift_limit=params.hue_saturation_value.saturation,
            val_shift_limit=params.hue_saturation_value.value,
        ),
        *_on(params.shift_scale_rotate, A.Affine, **_affine(params)),
        *_on(
            params.cutout,
            A.CoarseDropout,
            num_holes_range=(1, 1),
            hole_height_range=(params.cutout.side, params.cutout.side),
            hole_width_range=(params.cutout.side, params.cutout.side),
            fill=0,
        ),
    ]


def _blurs(params: AugmentParams) -> list[Any]:
    low, high = (variance**0.5 / 255 for variance in params.gauss_noise.variance)
    return [
        *_on(params.motion_blur, A.MotionBlur, blur_limit=(3, params.motion_blur.kernel_px)),
        *_on(params.median_blur, A.MedianBlur, blur_limit=(3, params.median_blur.kernel_px)),
        *_on(params.gaussian_blur, A.GaussianBlur, blur_limit=(3, params.gaussian_blur.kernel_px)),
        *_on(params.gauss_noise, A.GaussNoise, std_range=(low, high)),
    ]


def _distortions(params: AugmentParams) -> list[Any]:
    grid, elastic = params.grid_distortion, params.elastic
    return [
        *_on(
            params.optical_distortion,
            A.OpticalDistortion,
            distort_limit=params.optical_distortion.limit,
            border_mode=MIRRORED,  # of itself it is black here and with the grid
        ),
        *_on(
            params.grid_distortion,
            A.GridDistortion,
            num_steps=grid.steps,
            distort_limit=grid.limit,
            border_mode=MIRRORED,
        ),
        *_on(
            params.elastic,
            A.ElasticTransform,
            alpha=elastic.alpha,
            sigma=elastic.sigma,
            approximate=True,  # these two: 0.9 ms an image of 224 px instead of 7.8
            same_dxdy=True,
            border_mode=MIRRORED,
        ),
    ]


def _affine(params: AugmentParams) -> dict[str, Any]:
    moved = params.shift_scale_rotate
    return {
        "translate_percent": (-moved.shift, moved.shift),
        "scale": (1 - moved.scale, 1 + moved.scale),
        "keep_ratio": moved.keep_ratio,
        "rotate": (-moved.rotate_deg, moved.rotate_deg),
        "border_mode": MIRRORED,
    }


def _on(switch: Augmentation, kind: type[Any], **arguments: Any) -> list[Any]:  # noqa: ANN401
    return [kind(**arguments, p=switch.p)] if switch.p > 0 else []


def _one_of(group: tuple[Augmentation, ...], members: list[Any]) -> list[Any]:
    """At most one, each with its own p: albumentations takes the members' p for weights."""
    return [A.OneOf(members, p=min(1.0, sum(part.p for part in group)))] if members else []
