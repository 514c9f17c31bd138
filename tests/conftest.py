"""Shared by all tests: nothing phones home, nothing touches the user's own stores."""

import os
from pathlib import Path

import pytest

os.environ.update(
    {
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "True",
        "GX_ANALYTICS_ENABLED": "false",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
)

ROOT = Path(__file__).parents[1]
ISIC = ROOT.parent / "shared" / "isic"


def pytest_collection_modifyitems(items):
    """What needs the real ISIC images is skipped where they do not lie beside the checkout."""
    if not ISIC.is_dir():
        for item in items:
            if item.get_closest_marker("isic"):
                item.add_marker(pytest.mark.skip(reason=f"no ISIC data at {ISIC}"))


@pytest.fixture
def isic():
    """The folder with real ISIC data."""
    return ISIC


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project root: outputs/, champion.json and the like go there."""
    monkeypatch.setenv("DERMAFLOW_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
