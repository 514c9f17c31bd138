"""MLflow itself: the server, its runs, and the registry of models. What fails raises here.

The server is `MLFLOW_TRACKING_URI`, else `mlflow.db` (SQLite) with `mlartifacts/` in the project's root.
Runs are found by the tag `dermaflow.key`, and a point or figure that is there is not logged again, so
sending a record twice adds nothing. To import mlflow takes 1.2 s, so it waits until something is sent.
"""

import hashlib
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dermaflow.errors import DermaflowError
from dermaflow.params import root
from dermaflow.tracking.record import Record, now_ms

EXPERIMENT = "dermaflow"
KEY = "dermaflow.key"
LEFT_OUT = "dermaflow.left_out"


def send(record: Record) -> str:
    """Send a whole record; return its run's id."""
    client, run_id, parent_id = open_run(record)
    import mlflow  # noqa: PLC0415
    from mlflow.entities import RunTag  # noqa: PLC0415

    log_figures(client, run_id, record.params, record.metrics)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in record.tags.items()])
    if LEFT_OUT not in record.tags and LEFT_OUT in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, LEFT_OUT)
    log_history(client, run_id, record.history)
    if record.dataset:
        _log_dataset(mlflow, client, run_id, record.dataset)
    for source, place in record.artifacts.items():
        where = root() / source
        if where.is_dir():
            client.log_artifacts(run_id, str(where), place or None)
        elif where.exists():
            client.log_artifact(run_id, str(where), place or None)
    if client.get_run(run_id).info.status != "FINISHED":  # the same again took no longer
        client.set_terminated(run_id, end_time=record.ended_ms)
    if parent_id:
        _sum_up(client, parent_id, record)
        end_with_folds(client, parent_id)
    return run_id


def answers() -> None:
    """Ask the server for what costs nothing; what is no MLflow, or can't reach its database, raises."""
    _client().get_experiment_by_name(EXPERIMENT)


def open_run(record: Record) -> tuple[Any, str, str | None]:
    """Find or make the run and its parent under a lock: folds may start side by side.

    Returns:
        MLflow's client, the run's id, and its parent's if it has one.
    """
    from filelock import FileLock  # noqa: PLC0415

    with FileLock(root() / ".mlflow.lock"):
        client = _client()
        files = _files_beside(client.tracking_uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            experiment_id = client.create_experiment(EXPERIMENT, artifact_location=files)
        elif client.tracking_uri == _local_uri() and experiment.artifact_location != files:
            raise RuntimeError(
                "mlflow.db came from another folder: it would put files into "
                f"{experiment.artifact_location}. "
                "Move mlflow.db and mlartifacts/ away; what waits is sent to a new one."
            )
        else:
            experiment_id = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":  # else nothing could be logged any more
                client.restore_experiment(experiment_id)
        parent_id = None
        if record.parent:
            provenance = {key: record.tags.get(key, "") for key in ("git_commit", "data_md5")}
            parent_id = _find_or_create(
                client,
                experiment_id,
                record.parent,
                record.parent_name or record.parent,
                provenance,
                record.started_ms,
            )
        nested = {"mlflow.parentRunId": parent_id} if parent_id else {}
        run_id = _find_or_create(
            client, experiment_id, record.key, record.name, record.tags | nested, record.started_ms
        )
        for name, value in nested.items():  # a model's run that was deleted has been made anew
            client.set_tag(run_id, name, value)
        return client, run_id, parent_id


def _find_or_create(
    client: Any,  # noqa: ANN401
    experiment: str,
    key: str,
    name: str,
    tags: Mapping[str, str],
    started_ms: int,
) -> str:
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, start_time=started_ms, tags={**tags, KEY: key}, run_name=name)
    return str(run.info.run_id)


def log_figures(
    client: Any,  # noqa: ANN401
    run_id: str,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    """Log the params and metrics that the run does not have, or has otherwise."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    now, known = now_ms(), client.get_run(run_id).data
    new = [Param(key, value[:500]) for key, value in params.items() if key not in known.params]
    for start in range(0, len(new), 100):
        client.log_batch(run_id, params=new[start : start + 100])
    figures = {_safe(key): value for key, value in metrics.items()}
    changed = [
        Metric(key, value, now, 0) for key, value in figures.items() if known.metrics.get(key) != value
    ]
    for start in range(0, len(changed), 500):
        client.log_batch(run_id, metrics=changed[start : start + 500])


def log_history(client: Any, run_id: str, history: Sequence[Mapping[str, float]]) -> None:  # noqa: ANN401
    """Log the epochs that the run does not have yet."""
    from mlflow.entities import Metric  # noqa: PLC0415

    points = {
        (_safe(key), int(figures["epoch"])): value
        for figures in history
        for key, value in figures.items()
        if key != "epoch"
    }
    for name in sorted({name for name, _ in points}):
        for there in client.get_metric_history(run_id, name):
            points.pop((name, there.step), None)
    now = now_ms()
    metrics = [Metric(name, value, now, step) for (name, step), value in points.items()]
    for start in range(0, len(metrics), 500):
        client.log_batch(run_id, metrics=metrics[start : start + 500])


def _sum_up(client: Any, parent: str, record: Record) -> None:  # noqa: ANN401
    """Give the model's run what its folds share and the means of their final figures: so models compare."""
    runs = _folds(client, parent)
    names = {_safe(name) for name in record.metrics}
    folds = [one.data.metrics for one in runs if names <= set(one.data.metrics)]
    means = {name: sum(figures[name] for figures in folds) / len(folds) for name in sorted(names)}
    log_figures(client, parent, record.params, {"folds": len(folds), **means} if means else {})


def end_with_folds(client: Any, parent: str) -> None:  # noqa: ANN401
    """End the model's run with the last of its folds, as failed if one of them is; not while one runs."""
    infos = [run.info for run in _folds(client, parent)]
    states = {info.status for info in infos}
    if "RUNNING" not in states:
        status = "FAILED" if "FAILED" in states else "FINISHED"
        client.set_terminated(parent, status, max(info.end_time for info in infos))


def _folds(client: Any, parent: str) -> list[Any]:  # noqa: ANN401
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'"))


def _log_dataset(mlflow: Any, client: Any, run_id: str, table: str) -> None:  # noqa: ANN401
    import pandas as pd  # noqa: PLC0415
    from mlflow.entities import DatasetInput, InputTag  # noqa: PLC0415

    md5 = hashlib.md5((root() / table).read_bytes(), usedforsecurity=False).hexdigest()
    frame = pd.read_parquet(root() / table)
    frame = frame[[name for name in frame if frame[name].dtype != bool]].head(100)
    dataset = mlflow.data.from_pandas(frame, source=table, name=Path(table).stem, digest=md5)
    context = [InputTag("mlflow.data.context", "training")]
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), context)])  # noqa: SLF001


def _safe(name: str) -> str:
    return "".join(char if char.isalnum() or char in "_-. :/" else "_" for char in name)


def register(name: str, bundle: Path, run_id: str, tags: Mapping[str, str]) -> str:
    """Register a bundle as a new model version; one that is registered already keeps its version.

    Args:
        name: the lineage.
        bundle: the folder; it becomes the run's artifact `bundle`.
        run_id: the promotion's run.
        tags: of the version; `digest` tells which bundle it is.

    Returns:
        The version.
    """
    client = _client()
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = version(name, tags["digest"])
    if known is not None:
        for key, value in tags.items():  # of the last promotion
            client.set_model_version_tag(name, known, key, value)
        return known
    client.log_artifacts(run_id, str(bundle), "bundle")
    source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
    return str(client.create_model_version(name, source=source, run_id=run_id, tags=dict(tags)).version)


def version(name: str, digest: str) -> str | None:
    """Return the version of a registered model that holds this bundle; None: there is none."""
    known = _client().search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
    return str(known[0].version) if known else None


def set_champion(name: str, version: str) -> None:
    """Point the alias `champion` of a registered model at a version."""
    _client().set_registered_model_alias(name, "champion", version)


def runs_page(ui: str) -> str:
    """Return where the runs are to be looked at.

    Args:
        ui: address of an MLflow UI over the database in use; a tracking server shows them itself.

    Returns:
        The page of the experiment's runs; the start page if there is no run yet or the server is away.

    Raises:
        DermaflowError: the database is none.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    start = uri.rstrip("/") if uri.startswith("http") else ui
    try:
        experiment = _client().get_experiment_by_name(EXPERIMENT)
    except Exception as error:  # noqa: BLE001 - whatever SQLAlchemy raises
        if start != ui:  # the browser will tell
            return start
        raise DermaflowError(
            str(error).partition("\n")[0],
            "mlflow.db",
            "Move it away where it is damaged; what waits is sent to a new one.",
        ) from None
    if experiment is None:
        return start
    return f"{start}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"


def _client() -> Any:  # noqa: ANN401 - mlflow is imported late
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds: one that hangs costs a minute
    import mlflow  # noqa: PLC0415

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "The specified dataset source|Hint: Inferred schema", UserWarning)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local_uri()
    mlflow.set_tracking_uri(uri)  # sets the variable too
    return mlflow.MlflowClient(uri)


def _files_beside(uri: str) -> str | None:
    """Return where files of a new SQLite database go: beside it, wherever the stage runs that makes it."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix):
        return None
    file = unquote(uri.removeprefix(prefix).partition("?")[0])
    return (Path(file).resolve().parent / "mlartifacts").as_uri()


def _local_uri() -> str:
    file = str(root() / "mlflow.db").replace("%", "%25").replace("?", "%3F")  # no letters in an address
    return f"sqlite:///{file}"
