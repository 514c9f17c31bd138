"""All that is said to MLflow. A tracking error never costs a training.

Each fact is a record (one run: its key, parent, parameters, metrics, files). A record that can't be sent
is kept in `.tracking/pending/` and sent by the next command that tracks something, without the files that
have changed by then. Called by stages/ and cli only.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Self

from dermaflow.tracking import outbox, server
from dermaflow.tracking.record import Record, data_md5, flat, flat_params, git_commit, provenance
from dermaflow.tracking.server import EXPERIMENT, register, runs_page, set_champion, version

__all__ = [
    "EXPERIMENT",
    "FoldRun",
    "Record",
    "data_md5",
    "flat",
    "flat_params",
    "flush",
    "git_commit",
    "register",
    "runs_page",
    "send",
    "set_champion",
    "stage",
    "version",
]


def send(record: Record) -> str | None:
    """Send a record, and what is pending before it; on failure keep it for the next command.

    Returns:
        The run's id, or None if it could not be sent.
    """
    record.tags = {**provenance(), **record.tags}
    try:
        outbox.send_pending()
        return server.send(record)
    except Exception as error:  # noqa: BLE001 - whatever the server does, the work goes on
        if _keep(record):
            outbox.tell(error)
        return None


def _keep(record: Record) -> bool:
    """Keep a record for later; where even that fails (a full disk) it is lost, and said so."""
    try:
        outbox.keep(record)
    except OSError as error:
        outbox.tell(error, "not kept either")
        return False
    return True


def flush() -> None:
    """Send what is pending; on failure it stays for the next command."""
    try:
        outbox.send_pending()
    except Exception as error:  # noqa: BLE001
        outbox.tell(error)


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
        tags={**provenance(), **(tags or {})},
        artifacts=dict(artifacts or {}),
        dataset=dataset,
    )
    if not later:
        return send(record)
    _keep(record)
    return None


_LATER: Final = "sent when the training has ended well"


class FoldRun:
    """The run of one fold while it trains: epochs appear in the UI as they end.

    What fails here is told once and left: `finish` sends the whole record again.
    """

    def __init__(self, record: Record) -> None:
        """Open the run; on failure only `finish` will try again."""
        self.record = record
        self._client: Any = None
        self._run: Any = None
        self._parent: str | None = None
        self._took_until: int | None = None  # where the same was trained before
        record.tags = {**provenance(), **record.tags}

    def __enter__(self) -> Self:
        """Start the run, with system metrics, nested under its model."""
        try:
            outbox.send_pending()
            client, run_id, self._parent = server.open_run(self.record)
            import mlflow  # noqa: PLC0415 - 1.2 s; only where something is tracked

            info = client.get_run(run_id).info
            self._took_until = info.end_time if info.status == "FINISHED" else None
            mlflow.set_system_metrics_sampling_interval(2)
            self._run = mlflow.start_run(run_id=run_id, log_system_metrics=True)
            server.log_figures(client, run_id, self.record.params, {})  # those of a failed training, too
            self._client = client
        except Exception as error:  # noqa: BLE001
            outbox.tell(error, _LATER)
        return self

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """Note one finished epoch; `figures` holds `epoch`; what is no number is left out."""
        self.record.history.append(flat(figures))
        if self._client is None:
            return
        try:
            server.log_history(self._client, self._run.info.run_id, self.record.history[-1:])
        except Exception as error:  # noqa: BLE001
            self._client = None
            outbox.tell(error, _LATER)

    def __exit__(self, kind: object, *_: object) -> None:
        """End the run; a training that failed is marked so, and with it its model's run."""
        if self._run is None:
            return
        try:
            import mlflow  # noqa: PLC0415

            mlflow.end_run("FAILED" if kind else "FINISHED")
            if self._took_until and not kind:  # the same again took no longer
                mlflow.MlflowClient().set_terminated(self._run.info.run_id, end_time=self._took_until)
            if self._parent:
                server.end_with_folds(mlflow.MlflowClient(), self._parent)
        except Exception as error:  # noqa: BLE001
            outbox.tell(error, _LATER)

    def finish(self) -> str | None:
        """Send what the finished files say (call after the `with` block)."""
        return send(self.record)
