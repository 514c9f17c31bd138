"""`bentoml build` packs service and champion; the Bento serves from its own copy of the code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from dermaflow.impute.apply import Patient
from dermaflow.serve import inference
from helpers_bundle import picture
from helpers_service import BENTOML, environment, serving
from tests_paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bento(champion, tmp_path_factory):
    """The tag and folder of a Bento, built in a root that holds the source."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bentofile.yaml", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, root)
    shutil.copy(champion.root / "champion.json", root)
    done = subprocess.run(
        [BENTOML, "build", "-o", "tag"],
        cwd=root,
        env=environment(champion.root, PYTHONPATH=str(root / "src")),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tag = done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    return tag, champion.root / "bentoml" / "bentos" / tag.replace(":", "/")


def test_the_bento_names_the_champions_model_and_holds_its_record(bento, champion):
    _, folder = bento
    manifest = yaml.safe_load((folder / "bento.yaml").read_text())
    (service,) = manifest["services"]
    assert [model["tag"] for model in service["models"]] == [champion.record["tag"]]
    assert json.loads((folder / "src/champion.json").read_text())["tag"] == champion.record["tag"]


def test_the_bento_installs_pinned_packages_and_names_no_index_and_no_folder_of_ours(bento):
    _, folder = bento
    text = (folder / "env/python/requirements.txt").read_text()
    assert "bentoml==1.4.39" in text
    assert "http" not in text
    assert "torch" not in text
    assert str(ROOT) not in "".join(file.read_text() for file in folder.rglob("*.txt"))
    assert "python" in (folder / "env/docker/Dockerfile").read_text()


def test_a_container_listens_on_all_its_addresses_so_that_a_published_port_reaches_it(bento):
    _, folder = bento
    dockerfile = (folder / "env/docker/Dockerfile").read_text()
    assert "ARG BENTOML_HOST=0.0.0.0\nENV BENTOML_HOST=$BENTOML_HOST\n" in dockerfile


def test_the_bento_imports_its_own_code_and_all_of_it_is_there(bento, champion):
    _, folder = bento
    code = (
        "import json, sys, dermaflow.serve.service, dermaflow.serve.predict_folder\n"
        "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'dermaflow']\n"
        "print(json.dumps(files))"
    )
    env = environment(champion.root, PYTHONPATH=str(folder / "src"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "src", env=env, capture_output=True, text=True, check=True
    )
    files = [Path(file) for file in json.loads(done.stdout)]
    assert len(files) > 10
    assert all(file.is_relative_to(folder / "src") for file in files), files
    assert (folder / "src/dermaflow/serve/page/index.html").exists()
    packed = {file.relative_to(folder / "src/dermaflow").parts[0] for file in (folder / "src").rglob("*.py")}
    assert packed.isdisjoint({"train", "model", "ensemble", "evaluate", "releases", "outputs", "params.py"})


def test_the_bento_serves_from_anywhere(bento, champion, runner, tmp_path):
    tag, folder = bento
    file = picture(2)
    page = folder / "src/dermaflow/serve/page/info.html"
    page.write_text(page.read_text().replace("</h1>", " in this Bento</h1>", 1))  # no code but its own has it
    with serving(champion.root, tag, cwd=tmp_path, log=tmp_path / "log") as address:
        assert "in this Bento</h1>" in httpx.get(f"{address}/info", trust_env=False).text
        response = httpx.post(
            f"{address}/predict", files={"image": ("a.jpg", file)}, timeout=30, trust_env=False
        )
    assert response.status_code == 200
    assert response.json()["probabilities"] == pytest.approx(
        inference.answer(file, Patient(), runner).probabilities, abs=1e-6
    )
    assert response.json()["model"]["version"] == champion.record["version"]


def test_a_folder_that_was_not_promoted_is_never_packed(champion, bundle_folder):
    env = environment(champion.root, DERMAFLOW_BUNDLE=str(bundle_folder))
    done = subprocess.run(
        [BENTOML, "build"], cwd=champion.root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "DERMAFLOW_BUNDLE: a Bento holds the champion, not a folder." in done.stdout + done.stderr
