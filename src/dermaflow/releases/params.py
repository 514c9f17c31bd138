"""Section `ingest` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dermaflow.params import Params


class IngestParams(Params):
    """How published files are taken in."""

    section: ClassVar[str] = "ingest"

    missing_images: Literal["drop", "error"] = "drop"
    """What to do about listed images without a file."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Processes that read image facts."""
