"""The command `dermaflow`: what people type beside `dvc repro`. Knows the rooms; no room knows it."""

import typer

from dermaflow.cli import assess, data, images, models, predict, repro, results, sample
from dermaflow.errors import tell_errors

app = typer.Typer(
    help="ISIC releases in, three calibrated diagnoses out. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Errors are one line; DERMAFLOW_TRACEBACK=1 shows where they arose. "
    "Exit codes: 1 error, 2 usage; `repro`: that of DVC.",
)
app.add_typer(data.app, name="data")
app.add_typer(images.app, name="images")
app.add_typer(models.app, name="models")
app.command("sample")(sample.sample)
app.command("repro")(repro.repro)
app.command("predict")(predict.predict)
app.command("assess")(assess.assess)
app.command("evaluate")(results.evaluate)


def main() -> None:
    """Run the command; what a user can cause ends with one line and exit code 1."""
    tell_errors(app)
