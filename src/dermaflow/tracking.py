"""All that is said to MLflow. A tracking error never costs a training.

Each fact is a record (one run: its key, parent, parameters, metrics, files). A record that can't be sent
is kept in `.tracking/pending/` and sent by the next command that tracks something, without the files that
have changed by then. Runs are found by the tag `dermaflow.key`, and a point or figure that is there is not
logged again, so sending a record twice adds nothing. Called by stages/ and cli only.

The server is `MLFLOW_TRACKING_URI`, else `mlflow.db` (SQLite) with `mlartifacts/` in the project's root.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from dermaflow.files import digest
from dermaflow.params import root

EXPERIMENT = "dermaflow"
KEY = "dermaflow.key"
LEFT_OUT = "dermaflow.left_out"


@dataclass
class Record:
    """One run as it should stand in MLflow.

    Attributes:
        key: identity of the run; the same key is the same run.
        name: shown in the UI.
        parent: key of the run that it is nested under.
        parent_name: name of the parent, which is made if it is not there.
        params: parameters, flat.
        metrics: final figures, flat.
        history: one dictionary of figures an epoch.
        tags: besides git commit and stage.
        artifacts: files or folders (relative to the root) to the folder they are shown in.
        dataset: a table (relative to the root) that was learned from.
        digests: of these files, when the record was kept for later.
    """

    key: str
    name: str
    parent: str | None = None
    parent_name: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    dataset: str | None = None
    digests: dict[str, str] = field(default_factory=dict)


def send(record: Record) -> str | None:
    """Send a record, and what is pending before it; on failure keep it for the next command.

    Returns:
        The run's id, or None if it could not be sent.
    """
    record.tags = {**_provenance(), **record.tags}
    try:
        _send_pending()
        return _send(record)
    except Exception as error:  # noqa: BLE001 - whatever the server does, the work goes on
        _keep(record)
        _tell(error)
        return None


def flush() -> None:
    """Send what is pending; on failure it stays for the next command."""
    try:
        _send_pending()
    except Exception as error:  # noqa: BLE001
        _tell(error)


def stage(
    name: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, str] | None = None,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
    dataset: str | None = None,
    later: bool = False,
) -> str | None:
    """Track one stage as a run of its own.

    Args:
        name: the stage, shown in the UI.
        metrics: nested figures; what is no number is left out.
        params: nested parameters.
        artifacts: paths relative to the root, to the folder they are shown in.
        key: identity of the run; by default the stage, what it found, and the present commit and data.
        tags: further tags.
        dataset: a table that was learned from, relative to the root.
        later: only note it; the next command that speaks to MLflow (or `flush`) sends it. To open MLflow
            takes three seconds, more than a stage of tables needs for its work.

    Returns:
        The run's id, or None if it was not sent.
    """
    asked, figures = flat_params(params or {}), flat(metrics or {})
    found = hashlib.sha256(json.dumps([asked, figures], sort_keys=True).encode()).hexdigest()[:16]
    record = Record(
        key=key or f"{name}:{git_commit()}:{data_md5()}:{found}",
        name=name,
        params=asked,
        metrics=figures,
        tags={**_provenance(), **(tags or {})},
        artifacts=dict(artifacts or {}),
        dataset=dataset,
    )
    if not later:
        return send(record)
    _keep(record)
    return None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested figures to `hold_out.macro_auc.value`; what is no number is left out."""
    found: dict[str, float] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def flat_params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters to `augment.rotate.p`."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat_params(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


class FoldRun:
    """The run of one fold while it trains: epochs appear in the UI as they end.

    What fails here is told once and left: `finish` sends the whole record again.
    """

    def __init__(self, record: Record) -> None:
        """Open the run; on failure only `finish` will try again."""
        self.record = record
        self._client: Any = None
        self._run: Any = None
        record.tags = {**_provenance(), **record.tags}

    def __enter__(self) -> Self:
        """Start the run, with system metrics, nested under its model."""
        try:
            _send_pending()
            client, run_id, _ = _open(self.record)
            import mlflow  # noqa: PLC0415 - 1.2 s; only where something is tracked

            mlflow.set_system_metrics_sampling_interval(2)
            self._run = mlflow.start_run(run_id=run_id, log_system_metrics=True)
            self._client = client
        except Exception as error:  # noqa: BLE001
            _tell(error)
        return self

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """Note one finished epoch; `figures` holds `epoch`; what is no number is left out."""
        self.record.history.append(flat(figures))
        if self._client is None:
            return
        try:
            _log_history(self._client, self._run.info.run_id, self.record.history[-1:])
        except Exception as error:  # noqa: BLE001
            self._client = None
            _tell(error)

    def __exit__(self, kind: object, *_: object) -> None:
        """End the run; a training that failed is marked so."""
        if self._run is None:
            return
        try:
            import mlflow  # noqa: PLC0415

            mlflow.end_run("FAILED" if kind else "FINISHED")
        except Exception as error:  # noqa: BLE001
            _tell(error)

    def finish(self) -> str | None:
        """Send what the finished files say (call after the `with` block)."""
        return send(self.record)


def register(name: str, bundle: Path, run_id: str, tags: Mapping[str, str]) -> str:
    """Register a bundle as a new model version.

    Args:
        name: the lineage.
        bundle: the folder; it becomes the run's artifact `bundle`.
        run_id: the ensemble's run.
        tags: of the version.

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
    client.log_artifacts(run_id, str(bundle), "bundle")
    source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
    version = client.create_model_version(name, source=source, run_id=run_id, tags=dict(tags))
    return str(version.version)


def set_champion(name: str, version: str) -> None:
    """Point the alias `champion` of a registered model at a version."""
    _client().set_registered_model_alias(name, "champion", version)


def runs_page(ui: str) -> str:
    """Return where the runs are to be looked at.

    Args:
        ui: address of an MLflow UI over the database in use; a tracking server shows them itself.

    Returns:
        The page of the experiment's runs; the start page if there is no run yet or the server is away.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    start = uri.rstrip("/") if uri.startswith("http") else ui
    try:
        experiment = _client().get_experiment_by_name(EXPERIMENT)
    except Exception:  # noqa: BLE001 - an address is no reason to stop; the browser will tell
        return start
    if experiment is None:
        return start
    return f"{start}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"


def git_commit() -> str:
    """Return the checked-out commit, with `+` if tracked files differ, or `unknown`."""
    ask = ["git", "-C", str(root())]
    try:
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*ask, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def data_md5() -> str:
    """Return the digest of data.dvc, which holds the hash of all data; `unknown` without it."""
    file = root() / "data.dvc"
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.exists() else "unknown"


def _provenance() -> dict[str, str]:
    return {"git_commit": git_commit(), "data_md5": data_md5(), "dvc_stage": os.environ.get("DVC_STAGE", "")}


def _client() -> Any:  # noqa: ANN401 - mlflow is imported late
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow  # noqa: PLC0415

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "The specified dataset source|Hint: Inferred schema", UserWarning)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local_uri()
    mlflow.set_tracking_uri(uri)  # sets the variable too
    return mlflow.MlflowClient(uri)


def _local_uri() -> str:
    return f"sqlite:///{root() / 'mlflow.db'}"


def _open(record: Record) -> tuple[Any, str, str | None]:
    """Find or make the run and its parent under a lock: folds may start side by side."""
    from filelock import FileLock  # noqa: PLC0415

    with FileLock(root() / ".mlflow.lock"):
        client = _client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            local = (root() / "mlartifacts").as_uri() if client.tracking_uri == _local_uri() else None
            experiment_id = client.create_experiment(EXPERIMENT, artifact_location=local)
        else:
            experiment_id = experiment.experiment_id
        parent_id = None
        if record.parent:
            provenance = {key: record.tags.get(key, "") for key in ("git_commit", "data_md5")}
            parent_id = _find_or_create(
                client, experiment_id, record.parent, record.parent_name or record.parent, provenance
            )
        nested = {"mlflow.parentRunId": parent_id} if parent_id else {}
        run_id = _find_or_create(client, experiment_id, record.key, record.name, record.tags | nested)
        for name, value in nested.items():  # a model's run that was deleted has been made anew
            client.set_tag(run_id, name, value)
        return client, run_id, parent_id


def _find_or_create(client: Any, experiment: str, key: str, name: str, tags: Mapping[str, str]) -> str:  # noqa: ANN401
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, tags={**tags, KEY: key}, run_name=name)
    if "mlflow.parentRunId" not in tags:
        client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _send(record: Record) -> str:
    client, run_id, parent_id = _open(record)
    import mlflow  # noqa: PLC0415
    from mlflow.entities import RunTag  # noqa: PLC0415

    _log_figures(client, run_id, record.params, record.metrics)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in record.tags.items()])
    if LEFT_OUT not in record.tags and LEFT_OUT in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, LEFT_OUT)
    _log_history(client, run_id, record.history)
    if parent_id:
        _sum_up(client, parent_id, record)
    if record.dataset:
        _log_dataset(mlflow, client, run_id, record.dataset)
    for source, place in record.artifacts.items():
        where = root() / source
        if where.is_dir():
            client.log_artifacts(run_id, str(where), place or None)
        elif where.exists():
            client.log_artifact(run_id, str(where), place or None)
    client.set_terminated(run_id)
    return run_id


def _log_figures(
    client: Any,  # noqa: ANN401
    run_id: str,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    now, known = int(time.time() * 1000), client.get_run(run_id).data
    new = [Param(key, value[:500]) for key, value in params.items() if key not in known.params]
    for start in range(0, len(new), 100):
        client.log_batch(run_id, params=new[start : start + 100])
    figures = {_safe(key): value for key, value in metrics.items()}
    changed = [
        Metric(key, value, now, 0) for key, value in figures.items() if known.metrics.get(key) != value
    ]
    for start in range(0, len(changed), 500):
        client.log_batch(run_id, metrics=changed[start : start + 500])


def _log_history(client: Any, run_id: str, history: Sequence[Mapping[str, float]]) -> None:  # noqa: ANN401
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
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, step) for (name, step), value in points.items()]
    for start in range(0, len(metrics), 500):
        client.log_batch(run_id, metrics=metrics[start : start + 500])


def _sum_up(client: Any, parent: str, record: Record) -> None:  # noqa: ANN401
    """Give the model's run what its folds share and the means of their final figures: so models compare."""
    experiment = client.get_run(parent).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    names = {_safe(name) for name in record.metrics}
    folds = [one.data.metrics for one in runs if names <= set(one.data.metrics)]
    means = {name: sum(figures[name] for figures in folds) / len(folds) for name in sorted(names)}
    _log_figures(client, parent, record.params, {"folds": len(folds), **means} if means else {})


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


def _pending() -> Path:
    return root() / ".tracking" / "pending"


def _keep(record: Record) -> None:
    record.digests = {path: _digest(path) for path in _files(record)}
    text = json.dumps(asdict(record), sort_keys=True)
    folder = _pending()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns()}-{hashlib.sha256(record.key.encode()).hexdigest()[:16]}"
    scratch = folder / f"{name}.part"
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(folder / f"{name}.json")


def _send_pending() -> None:
    if not any(_pending().glob("*.json")):
        return
    from filelock import FileLock  # noqa: PLC0415

    with FileLock(_pending().parent / "lock"):  # folds may start side by side
        for file in sorted(_pending().glob("*.json")):
            try:
                record = Record(**json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                file.rename(file.with_suffix(".damaged"))  # one of them must not stop all
                _tell(error)
                continue
            _send(_unchanged(record))
            file.unlink()


def _files(record: Record) -> list[str]:
    return [*record.artifacts, *([record.dataset] if record.dataset else [])]


def _unchanged(record: Record) -> Record:
    """Leave out what was written anew since the record was kept: those files are of another run."""
    other = [path for path in _files(record) if record.digests.get(path) != _digest(path)]
    if not other:
        return record
    return replace(
        record,
        artifacts={path: place for path, place in record.artifacts.items() if path not in other},
        dataset=None if record.dataset in other else record.dataset,
        tags={**record.tags, LEFT_OUT: f"changed before they were sent: {', '.join(other)}"},
    )


def _digest(path: str) -> str:
    """Return the digest of a file, or of a folder's names and files; empty if there is nothing."""
    home = root() / path
    files = sorted(file for file in (home.rglob("*") if home.is_dir() else [home]) if file.is_file())
    parts = [f"{file.relative_to(home)} {digest(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""


def _tell(error: Exception) -> None:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    sys.stderr.write(f"tracking: not sent to MLflow ({text}); kept in .tracking/pending, work goes on\n")
