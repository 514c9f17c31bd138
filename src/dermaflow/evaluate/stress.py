"""Put the bundle's answers under stress: edit images, ask again, count the decisions that flip.

Base and edited image take the same way as any upload: encoded to bytes, then `runner.pixels`, which is
`images.prepare`. Called by stage stress.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow.bundle.apply import decision_scores
from dermaflow.bundle.ood import BORDER
from dermaflow.evaluate import figures
from dermaflow.evaluate.answers import malignant_classes
from dermaflow.evaluate.metrics import Floats
from dermaflow.evaluate.perturbations import PERTURBATIONS, Image, Mask
from dermaflow.images import decode as images_decode
from dermaflow.images import icc
from dermaflow.images.header import read_header

if TYPE_CHECKING:
    from dermaflow.bundle.format import Bundle

BATCH: Final = 16


class Answering(Protocol):
    """What is needed of `bundle.run.Runner`."""

    def pixels(self, files: Sequence[bytes]) -> Any:  # noqa: ANN401 - handed back as it is
        """Prepare files."""

    def __call__(self, pixels: Any, patients: NDArray[np.float32]) -> Any:  # noqa: ANN401 - its Outputs
        """Run all members."""


@dataclass(frozen=True)
class _Said:
    """Probabilities (n, k), what follows from them, and whether the service would decline (NaN: unknown)."""

    probability: Floats
    decided: NDArray[np.int64]
    malignant: Floats
    declined: Floats


_KEYS = tuple(field.name for field in fields(_Said))


def choose(cases: pd.DataFrame, count: int, seed: int) -> list[str]:
    """Choose hold-out images: by a hash of their ids, one of each group before any second.

    Args:
        cases: outputs.cases.
        count: at most so many.
        seed: another seed chooses others.
    """
    rows = cases[cases.split == "hold_out"][["image_id", "group"]].copy()
    rows["hash"] = [hashlib.sha256(f"{seed}/{image}".encode()).hexdigest() for image in rows.image_id]
    rows = rows.sort_values("hash", ignore_index=True)
    rows["turn"] = rows.groupby("group").cumcount()
    chosen = rows.sort_values(["turn", "hash"])[:count]
    return sorted(chosen.image_id)


def stress(
    runner: Answering,
    files: Mapping[str, bytes],
    masks: Mapping[str, bytes],
    patients: Mapping[str, NDArray[np.float32]],
    bundle: "Bundle",
    *,
    names: Sequence[str] = tuple(PERTURBATIONS),
    max_px: int = 1024,
) -> dict[str, Any]:
    """Ask about each image as it is and under each edit.

    Args:
        runner: the bundle's open networks.
        files: image bytes by id.
        masks: lesion masks (any image file, lesion bright) by id; may lack some or all.
        patients: each image's patient vector, shape (11,).
        bundle: for calibration, classes and the threshold to refer.
        names: keys of PERTURBATIONS.
        max_px: larger images are first reduced to this shorter side, unedited ones too.

    Returns:
        stress.json: `images`, and for each edit `images`, `decision_flipped` (share of images whose highest
        decision score is another class), `refer_flipped`, `malignant_probability_change` (mean),
        `malignant_probability_moved` (mean distance), `declined` (share of the edited images that the service
        would take for something else; null if it can't tell); for `masked_lesion` also `still_referred`
        (share of the referred that stay so without their lesion) and the mean `confidence_before` and
        `_after`.

    Raises:
        DataError: a file does not decode.
    """
    base: list[_Said] = []
    edited: dict[str, list[tuple[_Said, _Said]]] = {name: [] for name in names}
    for ids in _batches(sorted(files)):
        images = [reduced(decode(files[image], image), max_px) for image in ids]
        lesions = [_mask(masks.get(image), pixels) for image, pixels in zip(ids, images, strict=True)]
        before = _ask(runner, images, np.stack([patients[image] for image in ids]), bundle)
        base.append(before)
        for name in names:
            usable = [i for i in range(len(ids)) if name != "masked_lesion" or lesions[i] is not None]
            if not usable:
                continue
            changed = [PERTURBATIONS[name](images[i], lesions[i]) for i in usable]
            vectors = np.stack([patients[ids[i]] for i in usable])
            edited[name].append((_take(before, usable), _ask(runner, changed, vectors, bundle)))
    threshold = float(bundle.decision["malignant_threshold"])
    return {
        "images": sum(len(part.decided) for part in base),
        "max_px": max_px,
        "perturbations": {
            name: _summary(name, [pair[0] for pair in pairs], [pair[1] for pair in pairs], threshold)
            for name, pairs in edited.items()
        },
    }


def decode(file: bytes, name: str) -> Image:
    """Return an sRGB image of the file's own size.

    Raises:
        DataError: it is no image, truncated or damaged.
    """
    header = read_header(file, name)
    whole = images_decode.decode(file, header, 1, name)
    return np.ascontiguousarray(icc.to_srgb(whole.pixels, header.profile)[..., ::-1])


def reduced(rgb: Image, max_px: int) -> Image:
    """Reduce an image whose shorter side is above `max_px`; smaller ones stay as they are."""
    height, width = rgb.shape[:2]
    scale = max_px / min(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(rgb: Image) -> bytes:
    """Return a PNG, hardly compressed: it is read again at once."""
    _, encoded = cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    return encoded.tobytes()


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _mask(file: bytes | None, image: Image) -> Mask | None:
    if file is None:
        return None
    decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    if decoded is None or not (decoded > 127).any():  # noqa: PLR2004 - half of white
        return None
    size = image.shape[1], image.shape[0]
    return np.asarray(cv2.resize(decoded, size, interpolation=cv2.INTER_NEAREST) > 127)  # noqa: PLR2004


def _ask(runner: Answering, images: list[Image], patients: NDArray[np.float32], bundle: "Bundle") -> _Said:
    said = runner(runner.pixels([encode(image) for image in images]), patients)
    probability = bundle.calibration.probabilities(said.logits)
    decided = decision_scores(probability, bundle.calibration.prior).argmax(axis=1)
    unknown = said.ood_scores is None
    declined = np.full(len(images), np.nan) if unknown else (said.ood_scores > BORDER).astype(np.float64)
    return _Said(probability, decided, probability[:, malignant_classes(bundle.view)].sum(axis=1), declined)


def _take(said: _Said, rows: list[int]) -> _Said:
    return _Said(*(getattr(said, key)[rows] for key in _KEYS))


def _summary(name: str, before: list[_Said], after: list[_Said], threshold: float) -> dict[str, Any]:
    keys = [
        "decision_flipped",
        "refer_flipped",
        "malignant_probability_change",
        "malignant_probability_moved",
        "declined",
    ]
    if name == "masked_lesion":
        keys += ["still_referred", "confidence_before", "confidence_after"]
    if not before:
        return {"images": 0, **dict.fromkeys(keys)}
    old, new = (
        _Said(*(np.concatenate([getattr(part, key) for part in parts]) for key in _KEYS))
        for parts in (before, after)
    )
    refer, refer_now = old.malignant >= threshold, new.malignant >= threshold
    found = {
        "decision_flipped": (old.decided != new.decided).mean(),
        "refer_flipped": (refer != refer_now).mean(),
        "malignant_probability_change": (new.malignant - old.malignant).mean(),
        "malignant_probability_moved": np.abs(new.malignant - old.malignant).mean(),
        "declined": new.declined.mean(),
        "still_referred": refer_now[refer].mean() if refer.any() else np.nan,
        "confidence_before": old.probability.max(axis=1).mean(),
        "confidence_after": new.probability.max(axis=1).mean(),
    }
    return {"images": len(old.decided), **{key: figures.plain(float(found[key])) for key in keys}}
