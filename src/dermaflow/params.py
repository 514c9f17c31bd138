"""params.yaml as frozen typed classes; nobody else reads it.

Each room declares its own class (`class ImputeParams(Params): section = "impute"`), and a stage opens
that section alone with `params.load(ImputeParams)`. A wrong value names its key and the remedy.
"""

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dermaflow.errors import ParamsError

FILE = "params.yaml"
MOST_WORKERS: Final = 256

_LIKELY_PERCENT = 2
"""From here on a share above 1 was most likely meant in per cent."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
"""A share of a whole: 0 to 1."""


_ABSENT: Final = object()
_opened: dict[tuple[Path, str], Any] = {}
"""What was first found in a file under a key."""


class Params(BaseModel):
    """One section of params.yaml; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    section: ClassVar[str]


P = TypeVar("P", bound=Params)


def root() -> Path:
    """Return the project's root: `DERMAFLOW_ROOT`, else the working directory."""
    return Path(os.environ.get("DERMAFLOW_ROOT", ".")).resolve()


def current() -> Path:
    """Return the params file: `DERMAFLOW_PARAMS`, else params.yaml in the root."""
    return Path(os.environ.get("DERMAFLOW_PARAMS") or root() / FILE)


def load(kind: type[P], key: str | None = None, *, file: Path | None = None) -> P:
    """Read one section of params.yaml.

    Args:
        kind: the room's class; its `section` names the key.
        key: an entry below the section, e.g. one model's name.
        file: another file than the root's params.yaml, e.g. a preset.

    Raises:
        ParamsError: the file or the key is absent, or a value is wrong.
    """
    path = file or current()
    where = kind.section if key is None else f"{kind.section}.{key}"
    node = _section(path, where)
    try:
        made = kind.model_validate(node)
    except ValidationError as error:
        raise _explain(error, where, path) from None
    _refuse_switches(node, made.model_dump(), where, path)
    return made


V = TypeVar("V", int, float, str, bool)


def value(key: str, kind: type[V], *, file: Path | None = None) -> V:
    """Read a single value of another room's section, e.g. `value("train.views", int)`.

    Raises:
        ParamsError: the key is absent or of another type.
    """
    path = file or current()
    node = _section(path, key)
    if not isinstance(node, kind) or (isinstance(node, bool) and kind is not bool):
        raise ParamsError(f"{key} is {node!r}", path.name, f"Set {key} to a value of type {kind.__name__}.")
    return node


def whole(text: str, key: str) -> int:
    """Read a whole number that dvc.yaml took from params.yaml and put on a stage's command line.

    Args:
        text: of the command line.
        key: where it stands in params.yaml.

    Raises:
        ParamsError: it is none, or negative.
    """
    if not text.isdecimal():
        raise ParamsError(f"{key} names {text!r}", FILE, f"Write whole numbers in {key}.")
    return int(text)


def workers() -> int:
    """Return how many processes read, cut out and augment images; any number gives the same bytes.

    So no stage of dvc.yaml names this key: a change of it runs nothing again.

    Raises:
        ParamsError: the key is absent, or no whole number from 1 to 256.
    """
    node = _found(_read(current()), "workers")
    if isinstance(node, bool) or not isinstance(node, int) or not 1 <= node <= MOST_WORKERS:
        raise ParamsError(
            "workers is missing" if node is _ABSENT else f"workers is {node!r}",
            current().name,
            f"Set workers to a number of processes, 1 to {MOST_WORKERS}; presets/sample.yaml shows it.",
        )
    return node


def names(section: str, *, file: Path | None = None) -> list[str]:
    """Return a section that is a list of names or the keys of a table, e.g. `releases`, `models`.

    Raises:
        ParamsError: the section is absent or empty, or an entry repeats.
    """
    path = file or current()
    node = _section(path, section)
    found = [str(item) for item in node] if isinstance(node, list | dict) else []
    if not found or len(set(found)) != len(found):
        raise ParamsError(
            f"{section} is {node!r}, must be a list of different names",
            path.name,
            "Write a list ([0, 1, 2], say) or a table, each name once.",
        )
    return found


def top() -> list[str]:
    """Return the names of params.yaml's sections."""
    node = _read(current())
    return [str(key) for key in node] if isinstance(node, dict) else []


def watch() -> None:
    """Note from now on which keys are opened, for `changed`."""
    _opened.clear()


def changed() -> list[str]:
    """Return the keys, of those opened since `watch`, that the params file now gives otherwise."""
    now = _read(current())
    return [
        where for (path, where), node in _opened.items() if path == current() and _found(now, where) != node
    ]


def _section(path: Path, where: str) -> Any:  # noqa: ANN401 - whatever YAML holds there
    node = _found(_read(path), where)
    if node is _ABSENT:
        raise ParamsError(
            f"{where} is missing", path.name, f"Add the key {where}; presets/sample.yaml shows it."
        )
    _opened.setdefault((path, where), node)
    return node


def _found(node: Any, where: str) -> Any:  # noqa: ANN401
    for part in where.split("."):
        if not isinstance(node, dict) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _refuse_switches(node: Any, made: Any, where: str, path: Path) -> None:  # noqa: ANN401
    """Refuse true and false (YAML reads yes, no, on and off so) for numbers: pydantic takes 1 and 0."""
    if isinstance(node, dict) and isinstance(made, dict):
        for key in node:
            _refuse_switches(node[key], made[key], f"{where}.{key}", path)
    elif isinstance(node, list) and isinstance(made, list | tuple):
        for at, (one, read) in enumerate(zip(node, made, strict=True)):
            _refuse_switches(one, read, f"{where}.{at}", path)
    elif isinstance(node, bool) and not isinstance(made, bool):
        raise ParamsError(
            f"{where} is {str(node).lower()}, which is no number",
            path.name,
            f"Set {where} to a number; yes, no, on and off mean true and false.",
        )


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that stands twice in one table, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read(path: Path) -> Any:  # noqa: ANN401
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _EachKeyOnce)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise ParamsError(
            "no such file", str(path), "Run in the project's root, or copy a file of presets/ there."
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"not UTF-8 text: {error}", path.name, "Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise ParamsError(
            f"not valid YAML: {' '.join(str(error).split())}", path.name, "Mend the line named."
        ) from None


def _explain(error: ValidationError, where: str, path: Path) -> ParamsError:
    first = error.errors()[0]
    key = ".".join([where, *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        return ParamsError(f"{key} is no known key", path.name, "Remove it, or mend its spelling.")
    if first["type"] == "missing":
        return ParamsError(f"{key} is missing", path.name, "Add it; presets/sample.yaml shows it.")
    value = first["input"]
    if first["type"] == "value_error" and isinstance(value, dict):  # of several keys together
        return ParamsError(f"{key}: {first['ctx']['error']}", path.name, f"Change one of them below {key}.")
    remedy = f"Set {key} to a value that fits."
    if isinstance(value, int | float) and first["msg"].endswith("less than or equal to 1"):
        remedy = f"Set {key} to a share from 0 to 1."
        if _LIKELY_PERCENT <= value <= 100:  # noqa: PLR2004 - 1.5 may be meant as anything
            remedy = f"For {value:g} % write {value / 100:g}."
    message = first["msg"][0].lower() + first["msg"][1:]
    return ParamsError(f"{key} is {value!r}: {message}", path.name, remedy)
