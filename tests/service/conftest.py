"""One real service for all tests of this folder."""

from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from helpers_bundle import promote, tiny_bundle
from helpers_service import scratch_root, serving


@dataclass(frozen=True)
class Champion:
    """A root with a promoted bundle."""

    root: Path
    record: dict[str, str]


@dataclass(frozen=True)
class Served:
    """A running service."""

    champion: Champion
    address: str
    log: Path


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    tiny_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def runner(bundle_folder):
    return Runner(bundle_format.read(bundle_folder))


@pytest.fixture(scope="session")
def champion(tmp_path_factory, bundle_folder):
    root = scratch_root(tmp_path_factory.mktemp("root"))
    return Champion(root, promote(root, bundle_folder, root / "bentoml"))


@pytest.fixture(scope="session")
def served(champion):
    log = champion.root / "log"
    with serving(champion.root, log=log, DERMAFLOW_HOSTS="clinic.example") as address:
        yield Served(champion, address, log)


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.address, timeout=30, trust_env=False) as opened:
        yield opened
