"""`dermaflow assess`: measure the promoted bundle on labelled images of people's own."""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from dermaflow import outputs, params
from dermaflow.errors import DataError, first_ten

if TYPE_CHECKING:
    import pandas as pd

    from dermaflow.serve.formats import Scored
    from dermaflow.serve.truth import Labelled


def assess(
    images: Annotated[Path, typer.Option(help="Folder with JPEG or PNG files.")],
    truth: Annotated[
        Path,
        typer.Option(help="CSV: image, diagnosis; as far as known age, sex, site, patient_id, lesion_id."),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the report.")],
    centre: Annotated[
        str | None, typer.Option(help="Where all images are from: HAM, BCN, ...; default: anywhere.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle folder instead of the champion.")] = None,
) -> None:
    """Measure the promoted bundle on labelled images of your own: another clinic's, or those that came after.

    Diagnoses are MEL, NV, BCC, AK, BKL, DF, VASC, SCC, UNK, or AKIEC where AK and SCC are not told apart; an
    empty cell is not confirmed yet, and its image is left out. Intervals resample whole patients and lesions,
    so give their ids. Images that training learned from are refused. Nothing is chosen and nothing sent.

    Writes OUT only: report.html, metrics.json, answers.csv, plots/. Exit 1: some files could not be read;
    they are listed, all others are measured.

    Example: dermaflow assess --images 2026/ --truth confirmed.csv --out assessment/
    """
    from dermaflow.ensemble import outside  # noqa: PLC0415
    from dermaflow.evaluate.answers import Answers  # noqa: PLC0415
    from dermaflow.evaluate.params import EvaluateParams  # noqa: PLC0415
    from dermaflow.serve import champion, predict_folder  # noqa: PLC0415
    from dermaflow.serve.truth import read_truth  # noqa: PLC0415

    place = _new(out)
    known, unconfirmed = read_truth(truth)
    files = predict_folder.image_files(images)
    wanted = {image: files[image] for image in known if image in files}
    if not wanted:
        raise DataError(
            f"none of its images is in {images}; it names {first_ten(known)}",
            truth.name,
            "Give the images' file names in the column image, with or without their endings.",
        )
    loaded = champion.load(bundle)
    predict_folder.calibration(loaded.bundle, centre)
    digests = _digests(wanted)
    compared = _refuse_learned(digests, truth, loaded.bundle.inputs.get("holdout"))

    patients = {image: known[image].patient for image in wanted}
    with TemporaryDirectory(prefix=".dermaflow-", dir=place if place.exists() else place.parent) as scratch:
        scored, problems = predict_folder.predict_folder(loaded.open(), wanted, patients, centre)
        if not scored.images:
            raise DataError(
                f"none of the {len(wanted)} images can be read; {': '.join(problems[0])}",
                str(images),
                "Give JPEG or PNG files.",
            )
        frame, cases = _tables(scored, known, digests)
        answers = Answers.of(frame, scored.view, scored.prior, cases)
        found = outside.assess(
            loaded.bundle,
            answers,
            params.load(EvaluateParams) if params.current().exists() else EvaluateParams(),
            title=f"{loaded.bundle.name} on {images.resolve().name}",
            told=centre,
            outside_view=len(cases) - len(answers),
            compared=compared,
        )
        made = Path(scratch) / "made"
        made.mkdir()
        predict_folder.write_csv(scored, "full", made / "answers.csv")
        found.write(made)
        _put(made, place)
    named = {*known, *unconfirmed}
    _tell("no diagnosis is given of", [image for image in files if image not in named])
    _tell("no image is there of", [image for image in known if image not in files])
    _tell("not confirmed yet are", unconfirmed)
    _tell("the bundle does not know the diagnosis of", sorted({*cases.image_id} - {*answers.cases.image_id}))
    for name, reason in problems:
        sys.stderr.write(f"not read: {name}: {reason}\n")
    print(f"{out / 'report.html'}: {len(answers)} images, not a medical device. {loaded.bundle.notice}")
    if problems:
        raise typer.Exit(1)


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        sys.stderr.write(f"{what} {len(names)}: {first_ten(names)}\n")


def _new(out: Path) -> Path:
    """Return where the report is to lie: behind links, a new folder or an empty one."""
    place = out.resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DataError("something is there already", str(out), "Give a new folder, or an empty one.")
    if not place.parent.is_dir():
        raise DataError("no such folder", str(out.parent), "Make it, or give another path.")
    return place


def _put(made: Path, place: Path) -> None:
    """Move a folder to its place, whole if that is new; an empty one may be a mounted disk and stays."""
    if not place.exists():
        made.replace(place)
        return
    for child in sorted(made.iterdir(), key=lambda child: child.name == "report.html"):  # that one last
        child.replace(place / child.name)


def _digests(files: Mapping[str, Callable[[], bytes]]) -> dict[str, str]:
    """Return the sha256 of each file; of one that can't be read none, scoring names it."""
    found = {}
    for image, read in files.items():
        try:
            found[image] = hashlib.sha256(read()).hexdigest()
        except OSError:
            found[image] = f"unreadable {image}"
    return found


def _refuse_learned(digests: Mapping[str, str], truth: Path, holdout: str | None) -> bool:
    """Refuse images that this project's training holds; return whether all of the bundle's was looked at.

    Args:
        digests: image id to the sha256 of its file.
        truth: the table that names them.
        holdout: digest of the hold-out of the bundle's training.

    Raises:
        DataError: some are.
    """
    import pandas as pd  # noqa: PLC0415

    from dermaflow.splits.learned import learned_from  # noqa: PLC0415

    if not outputs.cases.path.exists():
        return False
    cases = outputs.cases.read()
    stores = cases.store.dropna().unique().tolist()  # params.yaml may name others by now
    there = sorted(file.stem for file in outputs.facts.of("any").path.parent.glob("*.parquet"))
    columns = ["image_id", "sha256"]
    tables = [outputs.facts.of(release).read(columns) for release in there]
    facts = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    learned = learned_from(cases, outputs.pairs.read(), facts, digests)
    if learned:
        raise DataError(
            f"{len(learned)} of its images are training images of this project: {first_ten(learned)}",
            truth.name,
            "Leave them out: what a network learned from says nothing about new images.",
        )
    is_whole = set(stores) <= set(there) and outputs.holdout.path.exists()
    return is_whole and outputs.holdout.content() == holdout


def _tables(
    scored: "Scored", known: "Mapping[str, Labelled]", digests: Mapping[str, str]
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return the answers, and the cases as `Answers.of` takes them."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from dermaflow.splits import groups  # noqa: PLC0415

    frame = pd.DataFrame(
        scored.probabilities, columns=[f"probability_{code}" for code in scored.view.classes]
    )
    frame["image_id"] = list(scored.images)
    rows = [known[image] for image in scored.images]
    cases = pd.DataFrame(
        {
            "image_id": frame.image_id,
            "diagnosis": [row.diagnosis for row in rows],
            "age_years": pd.Series([row.patient.age_years for row in rows], dtype="float64"),
            "sex": pd.Series([row.patient.sex for row in rows], dtype="str"),
            "site": pd.Series([row.patient.site for row in rows], dtype="str"),
            "patient_id": pd.Series([row.patient_id for row in rows], dtype="str"),
            "lesion_id": pd.Series([row.lesion_id for row in rows], dtype="str"),
            "sha256": [digests[image] for image in scored.images],
            "ood_score": np.nan if scored.ood_scores is None else scored.ood_scores,
        }
    )
    joined = [groups.same(cases[column]) for column in ("patient_id", "lesion_id", "sha256")]
    cases["group"] = groups.join(len(cases), joined)
    return frame, cases
