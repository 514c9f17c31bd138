"""The command `dermaflow`: what people type beside `dvc repro`. Knows the rooms; no room knows it."""

import os
import sys
import traceback

import typer

from dermaflow.cli import data, images, models, predict, repro, results, sample
from dermaflow.errors import DermaflowError

app = typer.Typer(
    help="ISIC releases in, three calibrated diagnoses out. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Errors are one line; DERMAFLOW_TRACEBACK=1 shows where they arose. Exit codes: 1 error, 2 usage.",
)
app.add_typer(data.app, name="data")
app.add_typer(images.app, name="images")
app.add_typer(models.app, name="models")
app.command("sample")(sample.sample)
app.command("repro")(repro.repro)
app.command("predict")(predict.predict)
app.command("evaluate")(results.evaluate)


def main() -> None:
    """Run the command; what a user can cause ends with one line and exit code 1."""
    try:
        app()
    except DermaflowError as error:
        if os.environ.get("DERMAFLOW_TRACEBACK"):
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        if os.environ.get("DERMAFLOW_TRACEBACK"):
            traceback.print_exc()
        remedy = "Free some space and run again; nothing half-written is left." if error.errno == 28 else ""  # noqa: PLR2004
        sys.stderr.write(f"error: {error.filename or 'file'}: {error.strerror}. {remedy}\n")
        sys.exit(1)
