"""`dermaflow images`: look at what is stored."""

from pathlib import Path
from typing import Annotated

import typer

from dermaflow import outputs
from dermaflow.params import names, root, value

app = typer.Typer(help="The stored images.", no_args_is_help=True)


@app.command()
def show(
    image_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Image ids, e.g. ISIC_0024306.")],
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("reports/images.png"),
    size: Annotated[int | None, typer.Option(help="Stored size, pixels; by default the first.")] = None,
) -> None:
    """Write a sheet of images before and after crop_resize.

    Example: dermaflow images show ISIC_0024306 ISIC_0024307
    """
    from dermaflow import releases, sources  # noqa: PLC0415
    from dermaflow.images import contact, store  # noqa: PLC0415

    stored = size or int(names("sizes")[0])
    folders = names("releases")
    reader = store.ShardReader(outputs.images_dir(stored), folders)
    opened = [sources.open_source(root() / "data" / name, releases.image_folders(name)) for name in folders]
    most = value("images.max_pixels", int)
    contact.before_after(image_ids, opened, reader, out, max_pixels=most)
    print(out)
