"""champion.json: which bundle the service loads, and the champions of each lineage.

Git-ignored, in the root. It names the exact tag that the service loads and, for each lineage, the line of its
champions, the last version number given and what was rolled back.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from dermaflow import outputs
from dermaflow.errors import BundleError
from dermaflow.params import root

_NEEDED: Final = ("name", "tag", "version", "digest", "git_commit")


def file() -> Path:
    """Return the path of champion.json."""
    return root() / "champion.json"


def read() -> dict[str, Any]:
    """Read champion.json; without it nothing is promoted.

    Returns:
        `lineages`: the records of each, oldest first; `last_versions`: the highest number ever given in
        each; `rolled_back`: the digests of each; beside them the record that the service loads.

    Raises:
        BundleError: the file is damaged.
    """
    if not file().exists():
        return {"lineages": {}, "last_versions": {}, "rolled_back": {}}
    try:
        value: dict[str, Any] = json.loads(file().read_text(encoding="utf-8"))
        found = {name: [_version(record) for record in line] for name, line in value["lineages"].items()}
        highest = {name: max(versions) for name, versions in found.items() if versions}
        given = {name: int(last) for name, last in value.get("last_versions", {}).items()}
        value["last_versions"] = highest | given  # files of before hold none
        value["rolled_back"] = {name: list(line) for name, line in value.get("rolled_back", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"not a file of champions: {error!r}",
            file().name,
            "Mend it, or move it away and promote anew: `dermaflow models promote`.",
        ) from None
    return value


def _version(record: Mapping[str, Any]) -> int:
    """Return the number of a record, which holds all that is needed of it, each a string."""
    if no_text := [key for key in _NEEDED if not isinstance(record[key], str)]:
        raise TypeError(f"no text: {', '.join(no_text)}")
    return int(record["version"])


def current(lineage: str) -> dict[str, Any] | None:
    """Return the record of a lineage's champion."""
    line = read()["lineages"].get(lineage, [])
    return dict(line[-1]) if line else None


def champion(lineage: str) -> dict[str, Any]:
    """Return the record of a lineage's champion.

    Raises:
        BundleError: nothing is promoted there.
    """
    record = current(lineage)
    if record is None:
        raise BundleError(
            "nothing is promoted", f"lineage {lineage}", "`make repro`, or `dermaflow models promote`."
        )
    return record


def amend(record: Mapping[str, Any], more: Mapping[str, str]) -> None:
    """Add to a champion's record what the tracking server could only say later."""
    with lock():
        state = read()
        line = state["lineages"][record["name"]]
        amended = [old | more if old["digest"] == record["digest"] else old for old in line]
        state["lineages"][record["name"]] = amended
        write(state, serving=amended[-1] if state.get("tag") == amended[-1]["tag"] else None)


def crown(record: Mapping[str, Any]) -> bool:
    """Write champion.json; tell whether the service now answers with this bundle."""
    state = read()
    line = [old for old in state["lineages"].get(record["name"], []) if old["digest"] != record["digest"]]
    state["lineages"][record["name"]] = [*line, record]
    state["last_versions"][record["name"]] = max(
        int(record["version"]), state["last_versions"].get(record["name"], 0)
    )
    again = [digest for digest in state["rolled_back"].get(record["name"], []) if digest != record["digest"]]
    state["rolled_back"][record["name"]] = again
    takes_over = state.get("name") == record["name"] or not serves_a_real_one(state)
    write(state, serving=record if takes_over else None)
    return takes_over


def serves_a_real_one(state: Mapping[str, Any]) -> bool:
    """Tell whether the service loads a model that did not learn from drawn images."""
    return "tag" in state and not state.get("demo", False)


def lock() -> FileLock:
    """Two promotions at once must not lose each other's line."""
    home = root() / ".tmp"
    home.mkdir(exist_ok=True)
    return FileLock(home / "champion.lock")


def write(state: Mapping[str, Any], *, serving: Mapping[str, Any] | None) -> None:
    """Write champion.json with the record that the service is to load; None leaves it as it is."""
    kept = {key: state[key] for key in ("lineages", "last_versions", "rolled_back")}
    value = {**(state if serving is None else serving), **kept}
    with outputs.replacing(file()) as scratch:
        scratch.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
