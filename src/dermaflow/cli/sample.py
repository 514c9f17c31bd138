"""`dermaflow sample`: draw the demo release."""

from pathlib import Path
from typing import Annotated

import typer

from dermaflow import datadir
from dermaflow.params import root


def sample(
    folder: Annotated[Path, typer.Argument(help="Where to draw it; `data` is the project's own.")] = Path(
        "data"
    ),
    images: Annotated[
        int | None, typer.Option(help="About so many images in place of the whole release's, for trials.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace what is in the folder.")] = False,  # noqa: FBT002
) -> None:
    """Draw the demo release: about 360 dermoscopic images in the official layouts.

    Writes FOLDER/isic2018, isic2019, isic2020 and masks, the same bytes on every machine. If FOLDER is
    the project's data/, data.dvc is updated and names these four alone. The images are drawn and prove
    nothing medical.

    Example: dermaflow sample data
    """
    from dermaflow.sample import ENTRIES, draw  # noqa: PLC0415 - commands load what they need

    draw(folder, images=images, replace=replace)
    if folder.resolve() == datadir.data_dir().resolve() and (root() / "dvc.yaml").exists():
        datadir.declare(list(ENTRIES), source=datadir.DEMO)
