"""bundle.json: whatever is absent or of another kind there, reading is a BundleError that names the file."""

import copy
import json
from dataclasses import replace

import pytest

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.apply import Frequencies
from dermaflow.errors import BundleError
from dermaflow.impute.apply import Alike
from helpers_bundle import tiny_bundle

ABSENT = object()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle that has all that one may have: frequencies of a centre, patients to fill gaps from."""
    folder = tmp_path_factory.mktemp("bundle")
    bundle = tiny_bundle(folder)
    known = bundle.calibration
    calibration = replace(known, centres={"HAM": Frequencies(known.shifts, known.prior)})
    alike = Alike(("age",), 15, ((50.0, "male", "torso", 3),))
    replace(bundle, calibration=calibration, imputer=replace(bundle.imputer, alike=alike)).write(folder)
    return folder


@pytest.fixture
def said(folder):
    """What reading says of another bundle.json in the folder."""
    file = folder / bundle_format.FILE
    whole = file.read_bytes()

    def read(content):
        file.write_bytes(content)
        with pytest.raises(BundleError) as error:
            bundle_format.read(folder)
        assert error.value.where == str(file)
        return error.value.what

    yield read
    file.write_bytes(whole)
    bundle_format.read(folder)


def places(value, path=()):
    """The path to each key and item of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def does_without(path, value):
    """The work of an answer follows from the members; a recipe without colours is one that leaves them."""
    return path == ("multiply_adds",) or (value is ABSENT and path[-1] == "colour_constancy")


def harmed(whole, path, value):
    content = copy.deepcopy(whole)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    "value",
    [ABSENT, None, [], {}, "x", 1.5, True, 10**400],
    ids=["absent", "null", "list", "object", "text", "number", "true", "huge"],
)
def test_a_key_that_is_absent_or_of_another_kind_is_a_bundle_error(folder, said, value):
    whole = json.loads((folder / bundle_format.FILE).read_text())
    for path in places(whole):
        content = harmed(whole, path, value)
        if content != whole and not does_without(path, value):
            said(json.dumps(content).encode())


def test_what_is_absent_or_unknown_is_named(folder, said):
    whole = json.loads((folder / bundle_format.FILE).read_text())
    for path, value, named in (
        (("digest",), ABSENT, "not a bundle: KeyError('digest')"),
        (("calibration", "centres"), [], "not a bundle: AttributeError("),
        (("members", 0, "recipe", "crop"), "circle", "no crop is called 'circle'"),
        (("view",), "ten", "not a bundle: KeyError('ten')"),
        (("format",), 1, "format 1, this version reads"),
        (("notice",), "Another.", "does not match its digest"),
    ):
        assert named in said(json.dumps(harmed(whole, path, value)).encode()), path


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"5", b'"text"', b"{}", b'{"format": 7', b"\xff"])
def test_a_file_that_holds_something_else_is_a_bundle_error(said, content):
    assert said(content).startswith("not a bundle: ")


def test_a_folder_without_the_file_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle\.json there"):
        bundle_format.read(tmp_path)
