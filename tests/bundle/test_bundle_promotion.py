"""`dermaflow models` on tiny bundles: what is promoted was gated, and what is rolled back to can be served.

The gate is the real stage; BentoML's store is a folder of the test's; MLflow is stood in for.
"""

import dataclasses
import json
import runpy
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import bentoml
import numpy as np
import pandas as pd
import pytest
import yaml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from typer.testing import CliRunner

from dermaflow import cli, outputs, tracking
from dermaflow.bundle import card, champions, latency, modelstore, registry
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.format import FORMAT
from dermaflow.bundle.params import RegistryParams
from dermaflow.errors import BundleError
from dermaflow.evaluate import compare, members
from dermaflow.serve import champion
from dermaflow.taxonomy import NINE
from helpers_bundle import NOTICE, tiny_bundle
from tests_paths import ROOT
from tests_predictions import made_cases, made_members

# BentoML's own, when its store is opened.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

REGISTRY = {"name": "tiny-demo", "notice": NOTICE, "demo": True}
LIMITS = {
    "min_balanced_accuracy": 0.5,
    "min_melanoma_auc": 0.5,
    "min_macro_auc": 0.5,
    "max_calibration_error": 0.5,
    "max_flipped": 0.5,
}
GOOD = {"balanced_accuracy": 0.9, "melanoma_auc": 0.9, "macro_auc": 0.95, "ece": 0.1}


@pytest.fixture(scope="module")
def tables():
    """Cases, hold-out and an ensemble's predictions."""
    rng = np.random.default_rng(1)
    cases, holdout = made_cases(rng)
    cases = cases.assign(patient_id=None, lesion_id=None, confirm_type=None)
    found = made_members(rng, cases, holdout, models=("a",))
    calibration = members.calibration(found, np.full(3, 1 / 3), members.natural_prior(cases, NINE))
    parts = [members.predict(found, calibration, split) for split in ("out_of_fold", "hold_out")]
    return cases, holdout, pd.concat(parts, ignore_index=True)


class World:
    """A project after `dvc repro`, and MLflow's aliases."""

    def __init__(self, root):
        self.root, self.aliases, self.registered = root, {}, {}

    def params(self, *, limits=LIMITS, **registry):
        content = {"releases": ["drawn"], "gate": limits, "registry": REGISTRY | registry}
        (self.root / "params.yaml").write_text(yaml.safe_dump(content))

    def bundle(self, seed, *, gated=True, **registry):
        """Put another bundle into outputs/ and return its digest."""
        made = tiny_bundle(outputs.path("bundle"), seed=seed)
        made_from = {
            "holdout": outputs.holdout.content(),
            "ensemble_predictions": outputs.ensemble_predictions.content(),
        }
        made = dataclasses.replace(made, inputs=made_from, **(REGISTRY | registry))
        made.write(outputs.path("bundle"))
        (outputs.path("bundle") / card.FILE).write_text("A card.")
        if gated:
            self.gate()
        return made.digest

    def gate(self, **figures):
        outputs.write_json(outputs.path("ensemble/metrics.json"), {"hold_out": GOOD | figures})
        outputs.write_json(outputs.path("stress/drawn.json"), {"perturbations": {}})
        runpy.run_path(str(ROOT / "stages/gate.py"), run_name="__main__")

    def models(self, *words):
        done = CliRunner().invoke(cli.app, ["models", *words])
        if done.exception:
            raise done.exception
        return done

    @property
    def file(self):
        return json.loads((self.root / "champion.json").read_text())

    @property
    def line(self):
        return [(record["digest"], record["version"]) for record in self.file["lineages"]["tiny-demo"]]


@pytest.fixture
def world(project, tables, monkeypatch):
    cases, holdout, predictions = tables
    outputs.cases.write(cases)
    outputs.holdout.write(holdout)
    outputs.ensemble_predictions.write(predictions)
    made = World(project)
    made.params()

    def register(name, folder, run_id, tags):
        made.registered[tags["digest"]] = tags["version"]
        return tags["version"]

    monkeypatch.setenv("BENTOML_HOME", str(project / "bentoml"))
    monkeypatch.delenv("DERMAFLOW_BUNDLE", raising=False)
    monkeypatch.setattr(tracking, "stage", lambda *words, **more: "run")
    monkeypatch.setattr(tracking, "register", register)
    monkeypatch.setattr(tracking, "version", lambda _, digest: made.registered.get(digest))
    monkeypatch.setattr(tracking, "set_champion", made.aliases.__setitem__)
    with BentoMLContainer.model_store.patch(ModelStore(project / "store")):
        yield made


def in_store(record):
    return Path(bentoml.models.get(record["tag"]).path)


@pytest.fixture
def two(world):
    """A world with two champions, and their digests."""
    found = []
    for seed in (1, 2):
        found.append(world.bundle(seed))
        assert "is champion of tiny-demo" in world.models("promote").stdout
    return world, *found


def test_each_model_of_a_mixed_bundle_can_be_timed_alone(tmp_path):
    made = tiny_bundle(tmp_path)
    first, second = made.members
    unlike = dataclasses.replace(made, members=(first, dataclasses.replace(second, model="b")))
    found = latency.latencies_ms(unlike)
    assert set(found) == {"tiny", "b", "ensemble"}
    assert min(found.values()) > 0


def test_promotion_shows_and_keeps_the_time_of_each_model_and_of_all(world, monkeypatch):
    world.bundle(1)
    seen = []

    def timed(bundle):
        seen.append([member.file for member in bundle.members])
        return 100.0 * len(bundle.members)

    monkeypatch.setattr(latency, "latency_ms", timed)
    made = tiny_bundle(outputs.path("other"))
    first, second = made.members
    unlike = dataclasses.replace(made, members=(first, dataclasses.replace(second, model="b")))
    assert latency.latencies_ms(unlike) == {"tiny": 100, "b": 100, "ensemble": 200}
    assert seen == [["tiny-0.onnx", "tiny-1.onnx"], ["tiny-0.onnx"], ["tiny-1.onnx"]]
    assert "An answer takes 200 ms here" in world.models("promote").stdout
    assert outputs.read_json(outputs.path("decision.json"))["latencies_ms"] == {"tiny": 200, "ensemble": 200}
    assert len(seen) == 4  # a lone model is the ensemble


def test_a_bundle_that_the_gate_has_not_judged_is_not_promoted(two):
    world, _, second = two
    world.bundle(3, gated=False)
    with pytest.raises(
        BundleError, match=r"gate\.json: it does not judge the present bundle.*Run `dvc repro`"
    ):
        world.models("promote")
    assert world.line[-1] == (second, "2")
    world.gate(macro_auc=0.1)
    assert "is not promoted: the gate failed: macro_auc" in world.models("promote").stdout


def test_a_verdict_of_before_that_names_no_bundle_promotes_nothing(world):
    world.bundle(1)
    gated = outputs.read_json(outputs.path("gate.json"))
    outputs.write_json(outputs.path("gate.json"), {key: gated[key] for key in ("passed", "checks")})
    with pytest.raises(BundleError, match="does not judge the present bundle"):
        world.models("promote")


@pytest.mark.parametrize("table", ["ensemble_predictions", "holdout"])
def test_a_bundle_is_not_compared_by_files_that_it_was_not_made_from(two, table):
    world, first, second = two
    changed = getattr(outputs, table)
    changed.write(changed.read().iloc[1:])
    with pytest.raises(BundleError, match=rf"{table}: .* was not made from it\. Run `dvc repro`"):
        world.models("promote")
    assert world.line == [(first, "1"), (second, "2")]


def test_a_hold_out_is_the_same_whatever_wrote_its_file_and_in_whatever_order(two):
    world, *_ = two
    before = outputs.holdout.path.read_bytes()
    outputs.holdout.read().iloc[::-1].to_parquet(outputs.holdout.path, compression=None)
    assert outputs.holdout.path.read_bytes() != before
    world.bundle(3)
    assert "another hold-out" not in world.models("promote").stderr


@pytest.mark.parametrize("lost", ["balanced_accuracy", "ece", None])
def test_a_verdict_without_one_of_its_checks_promotes_nothing(world, lost):
    world.bundle(1)
    verdict = outputs.read_json(outputs.path("gate.json"))
    verdict["checks"] = {name: check for name, check in verdict["checks"].items() if lost and name != lost}
    outputs.write_json(outputs.path("gate.json"), verdict)
    with pytest.raises(BundleError, match=f"it has no check of {lost or 'balanced_accuracy, melanoma_auc'}"):
        world.models("promote")


def test_limits_that_were_changed_since_the_gate_stop_a_promotion(world):
    world.bundle(1)
    world.params(limits={**LIMITS, "min_macro_auc": 0.99, "max_flipped": 0.1})
    with pytest.raises(BundleError, match=r"gate\.json: it went by other limits .* now: macro_auc\. Run"):
        world.models("promote")
    world.gate()
    assert "macro_auc 0.950, at least 0.99 asked" in world.models("promote").stdout


def test_a_drawn_bundle_does_not_become_the_real_lineages_champion(world):
    world.bundle(1)
    world.params(name="skin-ensemble", demo=False)
    with pytest.raises(
        BundleError, match=r"skin-ensemble, the bundle was built with tiny-demo\. Run `dvc repro`"
    ):
        world.models("promote")
    world.params(demo=False)
    with pytest.raises(BundleError, match=r"registry\.demo is false, the bundle was built with true\. Run"):
        world.models("promote")
    assert not champions.file().exists()


@pytest.mark.parametrize("drawn", [True, False])
def test_a_lineage_is_of_drawn_models_or_of_real_ones(world, drawn):
    """Else a demo that was trained by accident, or a rollback to one, would answer in a clinic."""
    for seed, demo in enumerate((not drawn, drawn)):
        world.params(demo=demo)
        bundle = world.bundle(seed, demo=demo)
        if demo is not drawn:
            world.models("promote")
            first = bundle
    with pytest.raises(BundleError, match=r"lineage tiny-demo: its champion is .* Give registry\.name"):
        world.models("promote")
    assert champion.load().bundle.digest == first


def test_a_rollback_points_the_alias_and_the_service_at_the_champion_before(two):
    world, first, _ = two
    assert world.aliases == {"tiny-demo": "2"}
    assert "tiny-demo version 1" in world.models("rollback").stdout
    assert world.line == [(first, "1")]
    assert world.aliases == {"tiny-demo": "1"}
    assert champion.load().bundle.digest == first


def test_a_rollback_holds_without_mlflow_and_says_so(two, monkeypatch):
    world, first, _ = two

    def away(name, version):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(tracking, "set_champion", away)
    done = world.models("rollback")
    assert "tiny-demo version 1" in done.stdout
    assert "alias `champion` of tiny-demo stays where it was (the server is away)" in done.stderr
    assert world.line == [(first, "1")]


def test_a_rollback_to_a_bundle_that_mlflow_never_met_says_that_the_alias_stays(two):
    """As where mlflow.db was removed: its first version is now of another bundle."""
    world, first, _ = two
    del world.registered[first]
    assert "alias `champion` of tiny-demo stays" in world.models("rollback").stderr
    assert world.aliases == {"tiny-demo": "2"}
    assert world.line == [(first, "1")]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda text: text.replace(f'"format": {FORMAT}', '"format": 1'), "format 1, this version reads"),
        (lambda text: text.replace("Random", "Other"), "does not match its digest"),
    ],
    ids=["another format", "damaged"],
)
def test_a_rollback_to_a_bundle_that_can_not_be_served_changes_nothing(two, harm, said):
    world, _, second = two
    stored = in_store(world.file["lineages"]["tiny-demo"][0]) / "bundle.json"
    stored.write_text(harm(stored.read_text()))
    before = world.file
    with pytest.raises(BundleError, match=rf"can't be served: .*{said}.*The present one stays"):
        world.models("rollback")
    assert world.file == before
    assert world.aliases == {"tiny-demo": "2"}
    assert champion.load().bundle.digest == second


def test_what_was_rolled_back_is_said_to_be_so_and_promoted_again_only_when_asked(two):
    world, first, second = two
    assert "already decided on: promoted (" in world.models("promote").stdout
    world.models("rollback")
    said = world.models("promote").stdout
    assert "already decided on: promoted, and rolled back since" in said
    assert "dermaflow models promote --again" in said
    assert world.line == [(first, "1")]
    said = world.models("promote", "--again").stdout
    assert "is champion of tiny-demo" in said
    assert "The service loads it when it starts next." in said
    assert [found for found, _ in world.line] == [first, second]
    assert "already decided on: promoted (" in world.models("promote").stdout


def test_promoted_again_a_bundle_keeps_the_commit_that_it_was_first_promoted_at(two, monkeypatch):
    world, *_ = two
    before = world.file["git_commit"]
    world.models("rollback")
    monkeypatch.setattr(tracking, "git_commit", lambda: "another")
    world.models("promote", "--again")
    assert world.file["git_commit"] == before != "another"
    world.bundle(3)
    world.models("promote")
    assert world.file["git_commit"] == "another"


@pytest.mark.parametrize(("command", "at"), [("rollback", -2), ("serve", -1)])
def test_a_champion_of_which_the_store_holds_another_bundle_is_not_said_to_be_served(two, command, at):
    world, *_ = two
    state = world.file
    state["lineages"]["tiny-demo"][at]["digest"] = "0" * 64
    champions.file().write_text(json.dumps(state))
    with pytest.raises(BundleError, match=r"not 000000000000 as champion\.json says"):
        world.models(command)
    assert world.file == state


def test_a_champions_record_of_before_names_no_hold_out_and_the_gate_alone_decides(two):
    world, *_ = two
    state = world.file
    del state["lineages"]["tiny-demo"][-1]["holdout_sha256"]
    champions.file().write_text(json.dumps(state))
    world.bundle(3)
    assert "is champion" in world.models("promote").stdout


def test_what_was_rolled_back_stays_so_when_outputs_are_made_anew_or_another_was_decided_on(two):
    world, first, _ = two
    world.models("rollback")
    outputs.path("decision.json").unlink()
    assert "promoted, and rolled back since" in world.models("promote").stdout
    third = world.bundle(3)
    world.models("promote")
    world.bundle(2)
    assert "promoted, and rolled back since" in world.models("promote").stdout
    assert [found for found, _ in world.line] == [first, third]


def test_a_bundle_that_was_worse_than_a_champion_is_decided_on_anew_beside_another(two, monkeypatch):
    world, first, _ = two
    third = world.bundle(3)
    worse = SimpleNamespace(worse=True, figures={})
    monkeypatch.setattr(compare, "against_champion", lambda *tables: worse)
    assert "not promoted: worse than the champion" in world.models("promote").stdout
    assert "already decided on: not promoted" in world.models("promote").stdout
    world.models("rollback")
    worse.worse = False
    assert "is champion" in world.models("promote").stdout
    assert [found for found, _ in world.line] == [first, third]


def cut(file):
    file.write_bytes(file.read_bytes()[:5000])


def mix(file):
    """Give each image another's answer."""
    table = pd.read_parquet(file)
    table["image_id"] = np.roll(table.image_id, 1)
    table.to_parquet(file)


def replace_whole(file):
    """Put another whole bundle under the tag, which was made from the same predictions."""
    inputs = bundle_format.read(file.parent).inputs
    for found in file.parent.glob("tiny-*"):
        found.unlink()
    dataclasses.replace(tiny_bundle(file.parent, seed=7), inputs=inputs).write(file.parent)


HARM = [
    ("tiny-0.onnx", Path.unlink),
    (modelstore.PREDICTIONS, Path.unlink),
    (modelstore.PREDICTIONS, cut),
    (modelstore.PREDICTIONS, mix),
    ("bundle.json", replace_whole),
]


@pytest.mark.parametrize(("name", "harm"), HARM)
def test_a_bundle_that_the_store_damaged_is_stored_anew_by_promotion(two, name, harm):
    world, _, second = two
    file = in_store(world.file) / name
    whole = file.read_bytes()
    harm(file)
    assert "is champion" in world.models("promote").stdout
    assert file.read_bytes() == whole
    assert world.line[-1] == (second, "2")
    assert champion.load().bundle.digest == second


@pytest.mark.parametrize(("name", "harm"), HARM)
def test_no_bundle_is_compared_with_a_champion_that_the_store_damaged(two, name, harm):
    world = two[0]
    harm(in_store(world.file) / name)
    world.bundle(3)
    done = world.models("promote")
    assert "can't be read any more" in done.stderr
    assert "passed the gate." in done.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]),
            "No space left on device",
        ),
        (PermissionError(13, "Permission denied", "/store/models"), "Permission denied: /store/models"),
        (OSError(20, "/store is not a directory"), "/store is not a directory"),
    ],
)
def test_a_store_that_takes_no_bundle_is_named_and_the_champion_stays(two, monkeypatch, error, said):
    world, _, second = two

    def refuse(*_, **__):
        raise error

    world.bundle(3)
    monkeypatch.setenv("BENTOML_HOME", "/store")
    monkeypatch.setattr(modelstore.bentoml.models, "create", refuse)
    with pytest.raises(BundleError) as raised:
        world.models("promote")
    assert str(raised.value).startswith(
        f"BentoML's store, /store: {said}. Make room there, let its user be who runs"
    )
    assert world.line[-1] == (second, "2")
    assert outputs.read_json(outputs.path("decision.json"))["digest"] == second


def test_no_two_bundles_ever_carry_one_version(two):
    world, first, _ = two
    world.models("rollback")
    third = world.bundle(3)
    world.models("promote")
    assert world.line == [(first, "1"), (third, "3")]
    world.models("promote", "--again")
    assert world.line == [(first, "1"), (third, "3")]


def test_a_bundle_has_one_number_also_after_a_rollback_and_a_lost_champions_file(two):
    world, first, second = two
    world.models("rollback")
    world.models("promote", "--again")
    assert world.line == [(first, "1"), (second, "2")]
    champions.file().unlink()
    world.models("promote", "--again")
    assert world.line == [(second, "2")]
    third = world.bundle(3)
    world.models("promote")
    assert world.line == [(second, "2"), (third, "3")]


def test_a_store_entry_without_its_record_is_one_error_and_promotion_heals_it(two):
    world, _, second = two
    (in_store(world.file) / "model.yaml").unlink()
    with pytest.raises(BundleError, match=r"can't be had from BentoML's store .* models promote"):
        world.models("show")
    assert "is champion" in world.models("promote").stdout
    assert champion.load().bundle.digest == second


def test_the_gates_run_holds_its_limits_and_figures(world, monkeypatch):
    told = []
    monkeypatch.setattr(tracking, "stage", lambda name, **more: told.append((name, more)))
    world.bundle(1)
    world.params(limits={**LIMITS, "min_macro_auc": 0.99})
    world.gate()
    assert [name for name, _ in told] == ["gate", "gate"]
    assert [more["params"]["min_macro_auc"] for _, more in told] == [LIMITS["min_macro_auc"], 0.99]
    assert [more["metrics"]["passed"] for _, more in told] == [1, 0]
    assert told[0][1]["metrics"]["macro_auc"] == GOOD["macro_auc"]


def test_a_champion_that_fails_the_gate_now_is_said_to_stay(two):
    world, _, second = two
    world.params(limits={**LIMITS, "min_macro_auc": 0.99})
    world.gate()
    said = world.models("promote").stdout
    assert f"{second[:12]} would not be promoted now: the gate failed" in said
    assert "It stays champion" in said
    assert world.line[-1] == (second, "2")


def test_a_champions_file_of_before_counts_on_from_its_line(two):
    world, first, second = two
    state = world.file
    del state["last_versions"]
    champions.file().write_text(json.dumps(state))
    third = world.bundle(3)
    world.models("promote")
    assert world.line == [(first, "1"), (second, "2"), (third, "3")]


def test_a_drawn_model_leaves_the_service_its_real_one(two):
    world, *_ = two
    state = world.file | {"name": "skin-ensemble", "tag": "skin-ensemble:0", "demo": False}
    champions.file().write_text(json.dumps(state))
    third = world.bundle(3)
    said = world.models("promote").stdout
    assert "The service keeps its real model" in said
    assert "starts next" not in said
    assert "models serve" not in said
    with pytest.raises(BundleError, match=r"never takes the place of a real one, skin-ensemble:0"):
        world.models("serve")
    world.models("rollback")
    assert world.file == state | {"last_versions": {"tiny-demo": 3}, "rolled_back": {"tiny-demo": [third]}}


def test_another_lineages_real_model_is_served_only_when_asked_and_so_is_the_way_back(world):
    found = {}
    for seed, name in enumerate(("real-a", "real-b")):
        world.params(name=name, demo=False)
        found[name] = world.bundle(seed, name=name, demo=False)
        said = world.models("promote").stdout
    assert "dermaflow models serve --lineage real-b" in said
    assert champion.load().bundle.digest == found["real-a"]
    for name in ("real-b", "real-a"):
        world.models("serve", "--lineage", name)
        assert champion.load().bundle.digest == found[name]
        assert sum(line.startswith("*") for line in world.models("list").stdout.splitlines()) == 1
    with pytest.raises(BundleError, match="nothing is promoted"):
        world.models("serve", "--lineage", "real-c")


def test_a_champion_that_mlflow_did_not_hear_of_is_registered_by_the_next_command(world, monkeypatch):
    heard = tracking.set_champion
    monkeypatch.setattr(tracking, "set_champion", lambda *words: 1 / 0)
    world.bundle(1)
    assert "the next `dermaflow models promote` does it" in world.models("promote").stderr
    assert world.file["mlflow_version"] == ""
    monkeypatch.setattr(tracking, "set_champion", heard)
    said = world.models("promote").stdout
    assert "Nothing to do.\nIt is now registered in MLflow too, as version 1." in said
    assert world.file["mlflow_version"] == world.file["lineages"]["tiny-demo"][0]["mlflow_version"] == "1"
    assert world.aliases == {"tiny-demo": "1"}
    assert "registered" not in world.models("promote").stdout


def test_two_promotions_at_once_both_stay(world, monkeypatch):
    def slowly(read=champions.read):
        found = read()
        time.sleep(0.1)
        return found

    real, names = champions.read, ("real-a", "real-b")
    monkeypatch.setattr(champions, "read", lambda: slowly(real))
    at_once(monkeypatch, names)
    assert set(world.file["lineages"]) == set(names)


def test_two_promotions_at_once_in_two_clones_give_two_numbers(world, monkeypatch):
    """Each clone has a champion.json and its lock of its own; the store is one."""
    read, kept = modelstore.versions, []

    def slowly(lineage):
        found = read(lineage)
        time.sleep(0.1)
        return found

    monkeypatch.setattr(modelstore, "versions", slowly)
    monkeypatch.setattr(champions, "lock", nullcontext)
    monkeypatch.setattr(champions, "crown", kept.append)
    at_once(monkeypatch, ("real", "real"))
    assert {record["version"] for record in kept} == {"1", "2"}


def at_once(monkeypatch, lineages):
    """Promote a bundle in each lineage, in two threads."""
    monkeypatch.setattr(latency, "latency_ms", lambda bundle: 1.0)
    made = []
    for seed, name in enumerate(lineages):
        folder = outputs.path(f"bundle-{seed}")
        dataclasses.replace(tiny_bundle(folder, seed=seed), name=name).write(folder)
        (folder / card.FILE).write_text("A card.")
        made.append((folder, RegistryParams(name=name, notice=NOTICE)))
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(
                registry.promote, folder, lineage, failed=[], comparison=None,
                predictions=outputs.ensemble_predictions.path, announce=lambda *words: {},
                provenance={"git_commit": "c"},
            )
            for folder, lineage in made
        ]  # fmt: skip
    assert all(one.result()["promoted"] for one in done)


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", '{"tag": "a:b"}', '{"lineages": {"tiny-demo": [{"tag": "a:b"}]}}',
        '{"lineages": {}, "last_versions": {"tiny-demo": "many"}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["list", "rollback"])
def test_a_damaged_champions_file_is_one_error_with_a_remedy(world, command, content):
    champions.file().write_text(content)
    with pytest.raises(BundleError, match=r"^champion\.json: not a file of champions.*Mend it"):
        world.models(command)


@pytest.mark.parametrize("key", ["tag", "version", "digest"])
@pytest.mark.parametrize("command", ["list", "rollback"])
def test_a_champion_without_its_tag_is_the_same_error(two, command, key):
    world = two[0]
    state = world.file
    state["lineages"]["tiny-demo"][0][key] = None
    champions.file().write_text(json.dumps(state))
    with pytest.raises(BundleError, match=rf"^champion\.json: not a file of champions.*no text: {key}"):
        world.models(command)
