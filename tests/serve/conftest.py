"""Tiny bundles of each view, made once, and an in-process client of the app."""

import pytest
from starlette.testclient import TestClient

from dermaflow.serve import champion
from dermaflow.serve.app import application
from dermaflow.taxonomy import VIEWS
from helpers_bundle import picture, tiny_bundle


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("bundles")
    for view in VIEWS:
        tiny_bundle(home / view, view)
    return {view: home / view for view in VIEWS}


@pytest.fixture(scope="session")
def loaded(folders):
    return {view: champion.load(folder) for view, folder in folders.items()}


@pytest.fixture(scope="session")
def runners(loaded):
    return {view: one.open(threads=1) for view, one in loaded.items()}


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """What the in-process clients call the service."""
    monkeypatch.setenv("DERMAFLOW_HOSTS", "testserver, Clinic.example:8443")


@pytest.fixture
def client(loaded, runners):
    with TestClient(application(loaded["nine"], runners["nine"])) as opened:
        yield opened


@pytest.fixture(scope="session")
def jpeg():
    return picture(1)
