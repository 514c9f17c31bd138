"""`dermaflow predict`: score a folder of images with the promoted bundle."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dermaflow.errors import first_ten


def predict(
    images: Annotated[Path, typer.Option(help="Folder with JPEG or PNG files.")],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
    metadata: Annotated[Path | None, typer.Option(help="CSV: image, age (years), sex, site.")] = None,
    layout: Annotated[str, typer.Option("--format", help="isic2018, isic2019, siim2020 or full.")] = "full",
    centre: Annotated[
        str | None, typer.Option(help="Where all images are from: HAM, BCN, ...; default: anywhere.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle folder instead of the champion.")] = None,
) -> None:
    """Score a folder of dermoscopic images with the promoted bundle. Writes OUT only.

    CENTRE, a centre that training held images from, makes probabilities and scores those for its own
    frequencies of the diagnoses; one of which it held no image from there gets none. Leave it out for images
    of any other place.

    Empty metadata cells are missing values: imputed, and flagged in the full format. Rows of METADATA that
    match no image are named. Exit 1: some files could not be read; they are listed, all others are written.

    Example: dermaflow predict --images test/ --format isic2018 --centre HAM --out submission.csv
    """
    from dermaflow.serve import champion, predict_folder  # noqa: PLC0415

    loaded = champion.load(bundle)
    problems, unused = predict_folder.score(loaded, images, metadata, layout, out, centre)
    own = {file.name for file in (out, metadata) if file is not None}
    if others := [name for name in predict_folder.left_out(images) if name not in own]:
        sys.stderr.write(f"not scored: {len(others)} (no .jpg, .jpeg or .png file): {first_ten(others)}\n")
    if unused:
        sys.stderr.write(f"not used: {len(unused)} rows of metadata match no image: {first_ten(unused)}\n")
    for name, reason in problems:
        sys.stderr.write(f"not read: {name}: {reason}\n")
    if problems:
        raise typer.Exit(1)
