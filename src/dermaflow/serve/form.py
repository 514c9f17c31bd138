"""A request's multipart body to a file and a patient, in memory; every wrong field is named in a 400.

Nothing here touches a disk: the parser's spool is as large as the largest body, so it never rolls over.
A text part in place of the file is refused, never taken for an address to fetch.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from dermaflow.impute.apply import Patient
from dermaflow.taxonomy import SEXES, SITES

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""Largest request; a 6000 x 4000 photograph has about 10 MB."""
MAX_TEXT_BYTES: Final = 256
BODY_SECONDS: Final = 30.0
"""How long a client may take to send its body."""
MAX_AGE_YEARS: Final = 120
FIELDS: Final = ("image", "age", "sex", "site", "force")
YES_OR_NO: Final = ("true", "false")

_NUMBER = re.compile(r"[0-9.eE+-]+")


@dataclass(frozen=True)
class Submission:
    """One image with what is known of its patient.

    Attributes:
        file: its bytes.
        patient: what is known.
        force: whether an answer is asked for whatever the image shows.
    """

    file: bytes
    patient: Patient
    force: bool


class _InMemory(MultiPartParser):
    spool_max_size = MAX_BODY_BYTES
    ended = False

    def on_end(self) -> None:
        self.ended = True


async def read(request: Request) -> Submission:
    """Read and check a request.

    Raises:
        HTTPException: 400 (a field, or the form ends early), 408 (too slow), 413 (too large), 415 (not
            multipart).
        ClientDisconnect: the client left before its image had arrived.
    """
    if request.query_params:
        raise HTTPException(400, "fields in the address are not read: send fields in the form")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "send multipart/form-data with the file in the field image")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    parser = _InMemory(
        request.headers, _counted(request), max_files=2, max_fields=20, max_part_size=MAX_TEXT_BYTES
    )
    try:
        async with asyncio.timeout(BODY_SECONDS):
            fields = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Part exceeded"):
            wrong = f"a text field is longer than {MAX_TEXT_BYTES} bytes; send image as a file"
        else:
            wrong = f"the form can't be read: {error.message}"
        raise HTTPException(400, wrong) from None
    except UnicodeError:  # a charset that can't be, or that the fields are not in
        raise HTTPException(400, "the form can't be read: send its fields in UTF-8") from None
    except TimeoutError:
        raise HTTPException(408, f"the image did not arrive within {BODY_SECONDS:g} seconds") from None
    try:
        if not parser.ended:  # the field that the end cut off would be taken for one that was not sent
            raise HTTPException(400, "the form ends early: send it whole, with its closing boundary")
        return await _submission(fields)
    finally:
        await fields.close()


def age_years(text: str) -> float | None:
    """Read an age: any number from 0 to MAX_AGE_YEARS, such as 55, 0.5, .5 or 1e1; None is anything else."""
    try:
        age = float(text) if _NUMBER.fullmatch(text) else -1.0
    except ValueError:
        return None
    return age if 0 <= age <= MAX_AGE_YEARS else None


async def _counted(request: Request) -> AsyncGenerator[bytes, None]:
    """Hand on the body's chunks; a body without a declared length is stopped too."""
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise _too_large()
        yield chunk


def _too_large() -> HTTPException:
    return HTTPException(413, f"the request is larger than {MAX_BODY_BYTES // 2**20} MB")


async def _submission(fields: FormData) -> Submission:
    names = [name for name, _ in fields.multi_items()]
    for name in names:
        if name not in FIELDS:
            raise HTTPException(400, f"{name[:40]} is no known field; known are {', '.join(FIELDS)}")
        if names.count(name) > 1:
            raise HTTPException(400, f"{name} is given more than once")
    image = fields.get("image")
    if isinstance(image, str):
        raise HTTPException(400, "image must be a file, not text")
    if image is None or not (file := await image.read()):
        raise HTTPException(400, "image is missing: send a JPEG or PNG file in the field image")
    force = _choice(fields, "force", YES_OR_NO) == "true"
    patient = Patient(_age(fields), _choice(fields, "sex", SEXES), _choice(fields, "site", SITES))
    return Submission(file, patient, force)


def _text(fields: FormData, name: str) -> str | None:
    """Return a text field without surrounding space; empty is missing."""
    value = fields.get(name, "")
    if isinstance(value, UploadFile):
        raise HTTPException(400, f"{name} must be text, not a file")
    return value.strip() or None


def _age(fields: FormData) -> float | None:
    text = _text(fields, "age")
    if text is None:
        return None
    age = age_years(text)
    if age is None:
        raise HTTPException(400, f"age must be a number of years from 0 to {MAX_AGE_YEARS}")
    return age


def _choice(fields: FormData, name: str, allowed: tuple[str, ...]) -> str | None:
    text = _text(fields, name)
    if text is not None and text not in allowed:
        raise HTTPException(400, f"{name} must be one of: {', '.join(allowed)}; or empty")
    return text
