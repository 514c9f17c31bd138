"""params.yaml: typed, frozen, and a wrong value names its key."""

from typing import Annotated, ClassVar

import pytest
import yaml
from pydantic import Field

from dermaflow import params
from dermaflow.errors import ParamsError


class Fake(params.Params):
    section: ClassVar[str] = "impute"
    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.05
    bits: Annotated[int, Field(le=10)] = 8
    knn: bool = False
    limits: tuple[int, int] = (0, 1)
    shares: dict[str, float] = Field(default_factory=dict)


@pytest.fixture
def write(project):
    def put(value):
        (project / "params.yaml").write_text(yaml.safe_dump(value))

    return put


def test_a_section_is_read_and_frozen(write):
    write({"impute": {"max_missing": 0.1}})
    loaded = params.load(Fake)
    assert loaded.max_missing == 0.1
    with pytest.raises(ValueError, match="frozen"):
        loaded.max_missing = 0.2


def test_a_share_above_one_is_explained_as_a_percentage(write):
    write({"impute": {"max_missing": 5}})
    with pytest.raises(ParamsError, match=r"impute\.max_missing is 5.*For 5 % write 0\.05"):
        params.load(Fake)


def test_a_share_that_is_no_likely_percentage_is_not_guessed_at(write):
    write({"impute": {"max_missing": 1.5}})
    with pytest.raises(
        ParamsError, match=r"is 1\.5: .* equal to 1\. Set impute\.max_missing to a share from 0 to 1\.$"
    ):
        params.load(Fake)


def test_a_number_above_another_limit_is_not_taken_for_a_percentage(write):
    write({"impute": {"bits": 50}})
    with pytest.raises(
        ParamsError, match=r"bits is 50: .*equal to 10\. Set impute\.bits to a value that fits"
    ):
        params.load(Fake)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{max_missing: yes}", r"impute\.max_missing is true"),
        ("{bits: off}", r"impute\.bits is false"),
        ("{limits: [0, true]}", r"impute\.limits\.1 is true"),
        ("{shares: {age: true}}", r"impute\.shares\.age is true"),
    ],
)
def test_true_and_false_are_no_numbers(project, text, key):
    (project / "params.yaml").write_text(f"impute: {text}")
    with pytest.raises(ParamsError, match=f"{key}, which is no number. Set "):
        params.load(Fake)


def test_true_and_false_stand_where_a_switch_is(project):
    (project / "params.yaml").write_text("impute: {knn: yes, bits: 1, limits: [1, 0]}")
    assert params.load(Fake) == Fake(knn=True, bits=1, limits=(1, 0))


def test_yaml_that_is_none_is_one_line(project):
    (project / "params.yaml").write_text("impute: {max_missing: 0.1\nmodels: 3\n")
    with pytest.raises(ParamsError, match=r"^[^\n]*not valid YAML: [^\n]*line 2[^\n]*Mend the line named\.$"):
        params.load(Fake)


@pytest.mark.parametrize(
    "text", ["impute: {bits: 1, bits: 2}", "impute:\n  bits: 1\n\n  bits: 2", "impute: {}\nimpute: {}"]
)
def test_a_key_that_stands_twice_is_an_error_that_names_its_line(project, text):
    (project / "params.yaml").write_text(text + "\n")
    line = len(text.splitlines())
    with pytest.raises(
        ParamsError, match=rf"the key (bits|impute) stands twice .*line {line}, .*Mend the line"
    ):
        params.load(Fake)


def test_an_unknown_key_is_an_error(write):
    write({"impute": {"max_mising": 0.1}})
    with pytest.raises(ParamsError, match=r"impute\.max_mising is no known key"):
        params.load(Fake)


def test_an_absent_section_names_the_key(write):
    write({})
    with pytest.raises(ParamsError, match="impute is missing"):
        params.load(Fake)


def test_an_absent_file_says_where_to_get_one(project):
    with pytest.raises(ParamsError, match="presets"):
        params.load(Fake)


def test_a_file_that_is_not_utf_8_is_an_error(project):
    (project / "params.yaml").write_bytes("impute: {} # für".encode("latin-1"))
    with pytest.raises(ParamsError, match=r"params\.yaml: not UTF-8 text.*Save it as UTF-8"):
        params.load(Fake)


@pytest.mark.parametrize("number", [0, 257, "two", 1.5, True, None])
def test_workers_are_a_number_of_processes(write, number):
    write({"workers": 256})
    assert params.workers() == 256
    write({"workers": number})
    with pytest.raises(ParamsError, match=f"workers is {number!r}. Set workers to a number"):
        params.workers()
    write({})
    with pytest.raises(ParamsError, match=r"workers is missing.*presets/sample\.yaml"):
        params.workers()


def test_names_must_differ(write):
    write({"releases": ["isic2018", "isic2018"]})
    with pytest.raises(ParamsError, match="different names"):
        params.names("releases")


@pytest.mark.parametrize("value", ["four", True])
def test_a_value_of_another_type_is_an_error(write, value):
    write({"train": {"views": value}})
    with pytest.raises(ParamsError, match=rf"train\.views is {value!r}"):
        params.value("train.views", int)
