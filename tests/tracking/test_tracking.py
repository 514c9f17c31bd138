"""MLflow: one run a key, folds nested under one parent, and never a lost training."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest

from dermaflow import tracking
from dermaflow.errors import DermaflowError
from dermaflow.tracking import server

pytestmark = pytest.mark.slow


def runs(project):
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    return client, client.search_runs([experiment.experiment_id])


def _fold(fold):
    tracking.send(tracking.Record(key=f"m:{fold}", name=f"fold-{fold}", parent="m", parent_name="lite0"))


def test_folds_that_start_side_by_side_share_one_parent(project):
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(_fold, range(3)))
    found = runs(project)[1]
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.run_name for run in parents] == ["lite0"]
    assert len(children) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}


def test_sending_a_record_twice_adds_no_run(project):
    record = tracking.Record(key="a", name="ensemble", metrics={"macro_auc": 0.9}, params={"x": "1"})
    assert tracking.send(record) == tracking.send(record)
    assert len(runs(project)[1]) == 1


def test_what_could_not_be_sent_is_sent_by_the_next_command(project, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/no/such/folder/mlflow.db")
    assert tracking.send(tracking.Record(key="lost", name="lost", metrics={"macro_auc": 0.9})) is None
    assert "work goes on" in capsys.readouterr().err
    assert len(list((project / ".tracking/pending").glob("*.json"))) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.send(tracking.Record(key="next", name="next"))
    assert {run.info.run_name for run in runs(project)[1]} == {"lost", "next"}
    assert not list((project / ".tracking/pending").glob("*.json"))


def test_a_record_that_can_not_even_be_kept_costs_no_work(project, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/no/such/folder/mlflow.db")
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=OSError(28, "No space left on device")))
    assert tracking.send(tracking.Record(key="lost", name="lost")) is None
    assert tracking.stage("later", later=True) is None
    assert capsys.readouterr().err.count("No space left on device); not kept either, work goes on") == 2


class Refusing(BaseHTTPRequestHandler):
    """What stands at the address is no MLflow."""

    def do_GET(self):
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.do_GET()

    def log_message(self, *args):
        pass


def test_what_waits_stays_where_the_server_refuses_whatever_it_is_sent(project, monkeypatch, capsys):
    tracking.stage("one", later=True)
    other = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{other.server_port}")
    tracking.flush()
    other.shutdown()
    thread.join()
    other.server_close()
    assert "not sent to MLflow" in capsys.readouterr().err
    assert [file.suffix for file in (project / ".tracking/pending").iterdir()] == [".json"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.flush()
    assert [run.info.run_name for run in runs(project)[1]] == ["one"]


def test_what_is_noted_for_later_needs_no_mlflow_and_is_sent_by_the_next_command(project):
    (project / "page.html").write_text("docs")
    code = (
        "import sys; from dermaflow import tracking;"
        "tracking.stage('validate', metrics={'warnings': 2}, artifacts={'page.html': 'docs'}, later=True);"
        "sys.exit('mlflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (project / "mlflow.db").exists()
    with tracking.FoldRun(tracking.Record(key="m:0", name="fold-0", parent="m")):
        pass
    client, found = runs(project)
    validate = next(run for run in found if run.info.run_name == "validate")
    assert validate.data.metrics == {"warnings": 2}
    assert [file.path for file in client.list_artifacts(validate.info.run_id, "docs")] == ["docs/page.html"]


def _flush(_):
    tracking.flush()


def test_two_who_flush_at_once_send_each_note_once(project, capfd):
    for number in range(4):
        tracking.stage(f"stage {number}", later=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_flush, range(2)))
    assert sorted(run.info.run_name for run in runs(project)[1]) == [f"stage {n}" for n in range(4)]
    assert "not sent" not in capfd.readouterr().err
    tracking.flush()  # with nothing to send it does nothing


def test_two_tries_between_commits_are_two_runs_and_the_same_again_is_one(project):
    for lr, auc in ((0.001, 0.9), (0.01, 0.8), (0.01, 0.8)):
        tracking.stage("ensemble", metrics={"macro_auc": auc}, params={"lr": lr})
    found = {run.data.params["lr"]: run.data.metrics["macro_auc"] for run in runs(project)[1]}
    assert found == {"0.001": 0.9, "0.01": 0.8}
    assert len(runs(project)[1]) == 2


def test_a_fold_shows_its_curves_once_and_its_final_figures_by_their_own_names(project):
    epochs = [{"epoch": n, "accuracy": value} for n, value in enumerate((0.6, 0.75, 0.7), start=1)]
    for seen in (epochs[:1], epochs[1:], epochs):  # killed after an epoch, resumed, trained over again
        record = tracking.Record(key="m:0", name="fold-0", parent="m")
        with tracking.FoldRun(record) as run:
            for figures in seen:
                run.epoch(figures)
            record.metrics, record.history = {"best.accuracy": 0.75}, [*record.history, *epochs]
        run_id = run.finish()
    client, _ = runs(project)
    points = client.get_metric_history(run_id, "accuracy")
    assert [(point.step, point.value) for point in points] == [(1, 0.6), (2, 0.75), (3, 0.7)]
    assert len(client.get_metric_history(run_id, "best.accuracy")) == 1


def test_a_run_lasts_as_long_as_its_work_and_not_as_its_sending(project):
    def sent(key, ended_ms):
        fold = tracking.Record(key=key, name=key, parent="m", started_ms=1_000, ended_ms=ended_ms)
        return tracking.send(fold)

    assert sent("m:0", 61_000) == sent("m:0", 90_000)  # the same again
    sent("m:1", 121_000)
    tracking.stage("split", later=True)
    noted = time.time() * 1000
    time.sleep(0.2)
    tracking.flush()
    infos = {run.info.run_name: run.info for run in runs(project)[1]}
    times = {name: (info.start_time, info.end_time) for name, info in infos.items()}
    assert times.pop("split")[1] <= noted
    assert times == {"m:0": (1_000, 61_000), "m:1": (1_000, 121_000), "m": (1_000, 121_000)}
    assert {info.status for info in infos.values()} == {"FINISHED"}


def test_a_fold_that_fails_fails_its_models_run_until_it_is_trained(project):
    def status():
        return {run.info.run_name: run.info.status for run in runs(project)[1]}

    def fail():
        with tracking.FoldRun(fold):
            assert status() == {"fold-0": "RUNNING", "m": "RUNNING"}
            raise ZeroDivisionError

    fold = tracking.Record(key="m:0", name="fold-0", parent="m", params={"models.lr": "0.001"})
    with pytest.raises(ZeroDivisionError):
        fail()
    assert status() == {"fold-0": "FAILED", "m": "FAILED"}
    failed = next(run for run in runs(project)[1] if run.info.run_name == "fold-0")
    assert failed.data.params == {"models.lr": "0.001"}
    tracking.send(tracking.Record(key="m:1", name="fold-1", parent="m"))
    assert status() == {"fold-0": "FAILED", "fold-1": "FINISHED", "m": "FAILED"}
    with tracking.FoldRun(fold) as run:
        pass
    run.finish()
    assert status() == {"fold-0": "FINISHED", "fold-1": "FINISHED", "m": "FINISHED"}


def test_a_models_run_has_its_settings_and_the_mean_of_its_folds(project):
    for fold, accuracy in enumerate((0.7, 0.9)):
        tracking.send(
            tracking.Record(
                key=f"m:{fold}",
                name=f"fold-{fold}",
                parent="m",
                parent_name="lite0",
                params={"models.lr": "0.001"},
                metrics={"best.accuracy": accuracy, "best.accuracy@1": accuracy},  # @ is no sign of MLflow's
            )
        )
    model = next(run for run in runs(project)[1] if run.info.run_name == "lite0")
    assert model.data.params == {"models.lr": "0.001"}
    mean = pytest.approx(0.8)
    assert model.data.metrics == {"folds": 2, "best.accuracy": mean, "best.accuracy_1": mean}


def test_a_models_run_that_was_deleted_is_made_anew_and_stops_nothing(project):
    record = tracking.Record(key="m:0", name="fold-0", parent="m", metrics={"best.accuracy": 0.7})
    tracking.send(record)
    client, found = runs(project)
    client.delete_run(next(run.info.run_id for run in found if run.info.run_name == "m"))
    tracking.send(record)
    model, fold = sorted(runs(project)[1], key=lambda run: run.info.run_name, reverse=True)
    assert fold.data.tags["mlflow.parentRunId"] == model.info.run_id
    assert model.data.metrics == {"folds": 1, "best.accuracy": 0.7}
    assert not list((project / ".tracking").rglob("*.json"))


def test_a_damaged_note_is_set_aside_and_stops_no_other(project, capsys):
    tracking.stage("first", later=True)
    note = next((project / ".tracking/pending").glob("*.json"))
    note.with_name("0-damaged.json").write_text(note.read_text()[:40])
    tracking.flush()
    assert "; set aside as " in capsys.readouterr().err
    assert [run.info.run_name for run in runs(project)[1]] == ["first"]
    assert [file.name for file in (project / ".tracking/pending").iterdir()] == ["0-damaged.damaged"]


def test_a_note_that_mlflow_refuses_for_good_is_set_aside_and_stops_no_other(project, capsys):
    tracking.stage("refused", key="r", metrics={"a": 1}, later=True)
    note = next((project / ".tracking/pending").glob("*.json"))
    record = json.loads(note.read_text()) | {"params": {"k" * 300: "1"}}
    note.write_text(json.dumps(record))
    tracking.stage("second", later=True)
    tracking.flush()
    assert "; set aside as " in capsys.readouterr().err
    assert "second" in {run.info.run_name for run in runs(project)[1]}
    assert [file.suffix for file in (project / ".tracking/pending").iterdir()] == [".refused"]


def test_a_note_that_cant_be_sent_now_stays_and_holds_up_no_other(project, monkeypatch, capsys):
    """A proxy may let no file of a network's size through."""
    send = server.send

    def through_a_proxy(record):
        if record.name == "large":
            raise RuntimeError("413 Request Entity Too Large")
        return send(record)

    for name in ("large", "small"):
        tracking.stage(name, metrics={"a": 1}, later=True)
    monkeypatch.setattr(server, "send", through_a_proxy)
    assert tracking.send(tracking.Record(key="now", name="now")) is not None
    assert "413 Request Entity Too Large); kept in .tracking/pending" in capsys.readouterr().err
    assert {run.info.run_name for run in runs(project)[1]} == {"small", "now"}
    monkeypatch.setattr(server, "send", send)
    tracking.flush()
    assert {run.info.run_name for run in runs(project)[1]} == {"large", "small", "now"}


def test_a_database_whose_making_was_broken_off_is_told_with_its_remedy(project, capsys):
    with sqlite3.connect(project / "mlflow.db") as half:
        half.execute("create table datasets (dataset_uuid varchar(36))")
    half.close()
    assert tracking.send(tracking.Record(key="a", name="a")) is None
    assert "mlflow.db was broken off while it was made: remove it" in capsys.readouterr().err
    (project / "mlflow.db").unlink()
    subprocess.run([sys.executable, "-c", "from dermaflow import tracking; tracking.flush()"], check=True)
    with sqlite3.connect(project / "mlflow.db") as made:  # MLflow holds on to the file that is gone
        assert made.execute("select name from runs").fetchall() == [("a",)]
    made.close()


def test_a_damaged_database_is_told_with_its_remedy(project, monkeypatch, capsys):
    (project / "mlflow.db").write_bytes(b"no database" * 1000)
    assert tracking.send(tracking.Record(key="a", name="a")) is None
    assert (
        "mlflow.db is damaged: move it away, and what waits is sent to a new one" in capsys.readouterr().err
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(DermaflowError, match=r"^mlflow\.db: .*file is not a database.*Move it away"):
        tracking.runs_page("http://127.0.0.1:5000")


def test_files_lie_beside_the_database_that_an_experiment_in_another_folder_makes(
    project, tmp_path, monkeypatch
):
    """`dvc exp run --temp` with the project's database, before the project has one."""
    (project / "model.txt").write_text("weights")
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'link'}/mlflow.db")
    assert tracking.send(tracking.Record(key="a", name="a", artifacts={"model.txt": "model"}))
    assert list((home / "mlartifacts").rglob("model.txt"))
    assert not list(project.glob("ml*"))
    monkeypatch.setenv("DERMAFLOW_ROOT", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking.send(tracking.Record(key="b", name="b"))  # then as its own


def test_a_project_may_lie_under_any_name(tmp_path, monkeypatch):
    odd = tmp_path / "a?b%20c \u00e4#"
    odd.mkdir()
    monkeypatch.setenv("DERMAFLOW_ROOT", str(odd))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.send(tracking.Record(key="a", name="a")) is not None
    assert [file for file in tmp_path.rglob("*.db") if file.is_file()] == [odd / "mlflow.db"]


def test_the_same_fold_again_took_as_long_as_the_first_time(project):
    record = tracking.Record(key="m:0", name="fold 0", parent="m", parent_name="lite0")
    ended = []
    for _ in range(2):
        with tracking.FoldRun(record) as run:
            pass
        run.finish()
        ended.append({one.info.run_name: one.info.end_time for one in runs(project)[1]})
        time.sleep(0.2)
    assert ended[0] == ended[1]


TRAINS = """
import time
from dermaflow import tracking
from dermaflow.errors import tell_errors

def train():
    record = tracking.Record(key="m:0", name="fold 0", parent="m", parent_name="lite0")
    with tracking.FoldRun(record):
        print("trains", flush=True)
        time.sleep(60)

tell_errors(train)
"""


def test_a_training_that_is_told_to_end_leaves_no_run_that_runs(project):
    with subprocess.Popen([sys.executable, "-c", TRAINS], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout.readline() == "trains\n"
        training.terminate()
    assert training.returncode == 128 + 15
    assert {run.info.status for run in runs(project)[1]} == {"FAILED"}


def test_a_deleted_experiment_is_restored(project):
    tracking.send(tracking.Record(key="a", name="a"))
    client, found = runs(project)
    client.delete_experiment(found[0].info.experiment_id)
    tracking.send(tracking.Record(key="b", name="b"))
    assert "b" in {run.info.run_name for run in runs(project)[1]}
    assert not list((project / ".tracking").rglob("*.json"))


def test_a_bundle_is_one_version_of_the_registry_however_often_it_is_told(project):
    run_id = tracking.send(tracking.Record(key="a", name="promotion"))
    (project / "bundle").mkdir()
    (project / "bundle/bundle.json").write_text("{}")

    def told(digest):
        return tracking.register("lineage", project / "bundle", run_id, {"digest": digest})

    assert [told(digest) for digest in ("d1", "d1", "d2", "d1")] == ["1", "1", "2", "1"]
    assert tracking.version("lineage", "d2") == "2"
    assert tracking.version("lineage", "d3") is None
    tracking.register("lineage", project / "bundle", run_id, {"digest": "d1", "version": "4"})
    assert mlflow.MlflowClient().get_model_version("lineage", "1").tags["version"] == "4"


def test_a_database_of_another_folder_gets_nothing_and_what_waits_goes_to_a_new_one(
    project, monkeypatch, capsys
):
    """Its files would land in the folder it came from."""
    tracking.send(tracking.Record(key="a", name="a"))
    moved = project.with_name("moved")
    shutil.copytree(project, moved)
    monkeypatch.setenv("DERMAFLOW_ROOT", str(moved))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # which MLflow sets for its process
    tracking.send(tracking.Record(key="b", name="b"))
    assert "mlflow.db came from another folder" in capsys.readouterr().err
    assert {run.info.run_name for run in runs(project)[1]} == {"a"}
    (moved / "mlflow.db").unlink()
    subprocess.run([sys.executable, "-c", "from dermaflow import tracking; tracking.flush()"], check=True)
    with sqlite3.connect(moved / "mlflow.db") as database:
        assert database.execute("select name from runs").fetchall() == [("b",)]


def test_files_that_changed_before_they_were_sent_are_left_out_and_named(project):
    for name in ("kept", "other"):
        (project / name).mkdir()
        (project / name / "page.html").write_text("of this run")
    tracking.stage("validate", artifacts={"kept": "docs", "other": "docs"}, later=True)
    (project / "other/page.html").write_text("of a later run")
    tracking.flush()
    (run,) = runs(project)[1]
    shown = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="docs/page.html")
    assert Path(shown).read_text() == "of this run"
    assert run.data.tags[server.LEFT_OUT] == "changed before they were sent: other"
    tracking.stage("validate", artifacts={"kept": "docs", "other": "docs"}, later=True)
    tracking.flush()
    (run,) = runs(project)[1]
    assert server.LEFT_OUT not in run.data.tags


def test_epochs_files_and_data_are_in_the_folds_run(project):
    (project / "model.txt").write_text("weights")
    record = tracking.Record(key="m:0", name="fold-0", parent="m", artifacts={"model.txt": "model"})
    with tracking.FoldRun(record) as run:
        for epoch in range(2):
            run.epoch({"epoch": epoch, "accuracy": 0.5 + epoch / 10})
    record.metrics = {"best_epoch": 1}
    run_id = run.finish()
    client, _ = runs(project)
    assert [point.value for point in client.get_metric_history(run_id, "accuracy")] == [0.5, 0.6]
    assert client.get_run(run_id).data.metrics["best_epoch"] == 1
    assert [item.path for item in client.list_artifacts(run_id, "model")] == ["model/model.txt"]
    assert list((project / "mlartifacts").rglob("model.txt"))
    assert not (project / "mlruns").exists()


def test_the_runs_page_names_the_experiment_of_the_database_in_use(project, monkeypatch):
    ui = "http://127.0.0.1:5000"
    other = f"sqlite:///{project / 'shared.db'}"
    for name in ("of others", "of others too"):
        mlflow.MlflowClient(other).create_experiment(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert tracking.runs_page(ui) == ui
    tracking.send(tracking.Record(key="a", name="ensemble"))
    found = mlflow.MlflowClient(other).get_experiment_by_name(tracking.EXPERIMENT)
    assert found.experiment_id != "1"
    assert f"{ui}/#/experiments/{found.experiment_id}/runs" in tracking.runs_page(ui)


def test_the_runs_page_of_a_tracking_server_is_the_servers(project, monkeypatch):
    class Server:
        def get_experiment_by_name(self, name):
            return mlflow.entities.Experiment("7", name, "", "active")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/")  # nobody listens there
    assert tracking.runs_page("http://127.0.0.1:5000") == "http://127.0.0.1:9"
    monkeypatch.setattr(server, "_client", Server)
    page = "http://127.0.0.1:9/#/experiments/7/runs?workflowType=machine_learning"
    assert tracking.runs_page("http://127.0.0.1:5000") == page


def test_a_server_that_dies_in_training_costs_nothing(project, monkeypatch):
    record = tracking.Record(key="m:0", name="fold-0")
    with tracking.FoldRun(record) as run:
        run.epoch({"epoch": 0, "accuracy": 0.5})
        monkeypatch.setattr(server, "log_history", _broken)
        run.epoch({"epoch": 1, "accuracy": 0.6})
        run.epoch({"epoch": 2, "accuracy": 0.7})
    assert run.finish() is None
    kept = json.loads(next((project / ".tracking/pending").glob("*.json")).read_text())
    assert [figures["accuracy"] for figures in kept["history"]] == [0.5, 0.6, 0.7]


def _broken(*_):
    raise ConnectionError("gone")
