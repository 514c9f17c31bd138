"""A trained member as what is shipped: its ONNX file and the entry of bundle.json. Called by stage bundle."""

from collections.abc import Callable
from pathlib import Path

from dermaflow.bundle.format import Member
from dermaflow.files import digest
from dermaflow.images.prepare import Recipe
from dermaflow.model import export
from dermaflow.train.member import load_member


def ship(trained: Path, folder: Path, recipe: Callable[[int, int], Recipe], model: str, fold: int) -> Member:
    """Export a member.

    Args:
        trained: its folder, as `member.write_member` wrote it.
        folder: the ONNX file is written here, named by model and fold.
        recipe: gives the recipe for a stored size and the size that the network sees, pixels.
        model: key in params.yaml's models.
        fold: the fold that it did not train on.
    """
    network, config = load_member(trained)
    stored_px, input_px = config["model"]["stored_px"], config["model"]["input_px"]
    file = folder / f"{model}-{fold}.onnx"
    export.export(network, input_px, file)
    return Member(
        model=model,
        fold=fold,
        file=file.name,
        sha256=digest(file),
        recipe=recipe(stored_px, input_px),
        multiply_adds=export.multiply_adds(network, input_px),
        parameters=export.parameters(network, input_px),
    )
