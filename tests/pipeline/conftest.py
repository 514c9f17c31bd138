"""Scratch repositories after the real `dvc repro`, made once a session."""

import pytest

from scratch_repo import make


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A reduced demo release."""
    from dermaflow.sample import draw

    target = tmp_path_factory.mktemp("demo") / "data"
    draw(target, images=120)
    return target


@pytest.fixture(scope="session")
def finished(tmp_path_factory, demo):
    """A repository after `dvc repro`, each stage of which saw only the params that dvc.yaml declares."""
    repo = make(tmp_path_factory.mktemp("first"), demo, shim=True)
    repo.ran = repo.repro()
    return repo


@pytest.fixture(scope="session")
def another(tmp_path_factory, demo, finished):
    """A second repository after `dvc repro`, in another folder; tests may change its params."""
    repo = make(tmp_path_factory.mktemp("second"), demo)
    repo.ran = repo.repro()
    repo.first_lock = repo.lock
    return repo
