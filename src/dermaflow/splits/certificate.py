"""The certificate without which nothing trains: these very tables share nothing between splits.

`certify` counts again from the tables (a ledger can be edited), `check_certificate` is called by train. The
checksum over the certificate's own text notices an edit by hand; it is no signature.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from dermaflow.errors import DataError, LeakError, first_ten
from dermaflow.splits.ledger import KINDS, overlaps

FORMAT: Final = 1
_PLURAL: Final = {
    "patient": "patients",
    "lesion": "lesions",
    "group": "groups",
    "official": "official duplicate pairs",
    "seen": "pairs of split.same_picture",
    "identical": "identical pairs",
    "near": "near-identical pairs",
}
_SINGULAR: Final = {
    **{kind: kind for kind in KINDS},
    "official": "official duplicate pair",
    "seen": "pair of split.same_picture",
    "identical": "identical pair",
    "near": "near-identical pair",
}


def certify(
    cases: pd.DataFrame,
    pairs: pd.DataFrame,
    ledger: Mapping[str, Any],
    prepared: Mapping[str, Any],
    digests: Mapping[str, str],
    dealt: Mapping[str, str],
) -> dict[str, Any]:
    """Prove that no group stands in two splits.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.
        ledger: what `split` wrote.
        prepared: the report of the prepared table's suite, as JSON.
        digests: names of the tables that the certificate is for, with their sha256.
        dealt: names of the tables that `split` wrote, with the sha256 that they have now.

    Returns:
        The certificate, a plain dictionary with its own checksum.

    Raises:
        LeakError: see `refuse_leak`.
        DataError: the prepared table failed, or the ledger is of other tables.
    """
    counted = refuse_leak(cases, pairs)
    if ledger.get("tables", {}) != dict(dealt):
        raise DataError("it is of other tables", "splits/ledger.json", "Run `dvc repro split`.")
    if ledger.get("overlaps") != counted:
        raise DataError("its overlaps are not those tables'", "splits/ledger.json", "Run `dvc repro split`.")
    failed = prepared.get("critical_failures")
    if failed != 0:
        raise DataError(
            f"{failed} critical expectations failed",
            "the prepared table",
            "See the report above; mend the data.",
        )
    kept = cases[cases["split"] != "dropped"]
    certificate = {
        "format": FORMAT,
        "digests": dict(digests),
        "overlaps": counted,
        "images": {
            "train": int((kept["split"] == "train").sum()),
            "hold_out": int((kept["split"] == "hold_out").sum()),
            "groups": int(kept["group"].nunique()),
        },
        "compared": ledger.get("compared", {}),
        "random_split": ledger.get("random_split", {}),
        "legacy_split": ledger.get("legacy_split", {}),
        "prepared": {
            key: prepared[key] for key in ("checked", "critical_failures", "warnings") if key in prepared
        },
    }
    return {**certificate, "checksum": checksum(certificate)}


def refuse_leak(cases: pd.DataFrame, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what any two splits share: nothing.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.

    Raises:
        LeakError: something is shared, or a hold-out diagnosis stands in cases, or an image stands twice.
    """
    twice = cases["image_id"][cases["image_id"].duplicated()]
    if len(twice):
        raise LeakError(
            f"{len(twice)} images stand twice: {first_ten(twice)}", "cases.parquet", "Run `dvc repro split`."
        )
    opened = (cases["split"] == "hold_out") & cases["diagnosis"].notna()
    if opened.any():
        raise LeakError(
            f"{opened.sum()} hold-out diagnoses stand in it: {first_ten(cases['image_id'][opened])}",
            "cases.parquet",
            "Run `dvc repro split`; they belong into holdout.parquet alone.",
        )
    counted = overlaps(cases, pairs)
    refuse_overlap(counted, "cases.parquet")
    return counted


def check_certificate(certificate: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Refuse to go on unless the certificate is whole, clean, and for exactly these tables.

    Args:
        certificate: what `certify` returned.
        digests: names and sha256 of the tables about to be used.

    Raises:
        LeakError: it is not.
    """
    where = "certificate.json"
    body = {key: value for key, value in certificate.items() if key != "checksum"}
    if body.get("format") != FORMAT or certificate.get("checksum") != checksum(body):
        raise LeakError("it was edited, or is none", where, "Run `dvc repro certify`.")
    if body["digests"] != dict(digests):
        names = sorted(
            name for name in {*body["digests"], *digests} if body["digests"].get(name) != digests.get(name)
        )
        raise LeakError(
            f"it is for other tables: {', '.join(names)} differ", where, "Run `dvc repro certify`."
        )
    if not body["overlaps"]:
        raise LeakError("it compares no splits", where, "Run `dvc repro certify`.")
    refuse_overlap(body["overlaps"], where)


def refuse_overlap(counted: list[dict[str, Any]], where: str) -> None:
    """Raise if any two splits share anything.

    Raises:
        LeakError: with how many of what, and between which.
    """
    leaks = [
        f"{_count(entry[kind], kind)} in both {entry['a']} and {entry['b']}"
        for entry in reversed(counted)
        for kind in KINDS
        if entry[kind]
    ]
    if leaks:
        raise LeakError(
            "; ".join(leaks[:10]),
            where,
            "Run `dvc repro split`, never move single images by hand; in a split file of your own put all "
            "images of a `group` (outputs/cases.parquet) into one place.",
        )


def _count(number: int, kind: str) -> str:
    return f"{number} {(_SINGULAR if number == 1 else _PLURAL)[kind]}"


def checksum(body: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical text."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
