"""Which bundle answers."""

import json

import pytest

from dermaflow.errors import BundleError
from dermaflow.serve import champion
from helpers_bundle import promote

# BentoML's own, when its store is opened.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DERMAFLOW_ROOT", str(tmp_path))
    monkeypatch.delenv("DERMAFLOW_BUNDLE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def promoted(tmp_path_factory, folders):
    """A root whose store holds a promoted bundle."""
    home = tmp_path_factory.mktemp("promoted")
    return home, promote(home, folders["nine"], home / "bentoml")


@pytest.fixture
def record(promoted, monkeypatch):
    """The champion's record; the root and BentoML's store of this process are those of `promoted`."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    home, record = promoted
    monkeypatch.delenv("DERMAFLOW_BUNDLE", raising=False)
    monkeypatch.setenv("DERMAFLOW_ROOT", str(home))
    with BentoMLContainer.model_store.patch(ModelStore(home / "bentoml/models")):
        yield record


def test_the_champion_is_loaded_by_its_exact_tag(record):
    loaded = champion.load()
    assert loaded.tag == record["tag"]
    assert loaded.bundle.digest == record["digest"]
    short = {**record, "digest": record["digest"][:12]}
    assert loaded.model == {key: short[key] for key in champion.PROVENANCE}


def test_a_tag_that_is_gone_from_the_store_is_an_error(root, record, monkeypatch):
    monkeypatch.setenv("DERMAFLOW_ROOT", str(root))
    (root / "champion.json").write_text(json.dumps({**record, "tag": "tiny-demo:000000000000"}))
    with pytest.raises(BundleError, match="tiny-demo:000000000000 is not in BentoML's store") as raised:
        champion.load()
    assert "Set BENTOML_HOME" in str(raised.value)
    assert "models serve" not in str(raised.value)  # which needs it as well


def test_a_store_that_another_user_may_not_read_is_an_error_with_its_remedy(root, record, monkeypatch):
    def private(_):
        raise PermissionError(13, "Permission denied", "/store/model.yaml")

    monkeypatch.setenv("DERMAFLOW_ROOT", str(root))
    (root / "champion.json").write_text(json.dumps(record))
    monkeypatch.setattr(champion.bentoml.models, "get", private)
    with pytest.raises(BundleError, match=r"^/store/model\.yaml: .*Permission denied\. Start .*BENTOML_HOME"):
        champion.load()


@pytest.mark.parametrize("tag", ["tiny demo:7", "tiny-demo:", "a:b:c", "../elsewhere:7", ["tiny-demo"]])
def test_a_tag_that_is_none_is_an_error(root, record, monkeypatch, tag):
    monkeypatch.setenv("DERMAFLOW_ROOT", str(root))
    (root / "champion.json").write_text(json.dumps({**record, "tag": tag}))
    with pytest.raises(BundleError, match=r"champion\.json: the tag .* is none of BentoML's: .*make repro"):
        champion.load()


def test_another_bundle_under_the_champions_tag_is_an_error(root, record, monkeypatch):
    monkeypatch.setenv("DERMAFLOW_ROOT", str(root))
    (root / "champion.json").write_text(json.dumps({**record, "digest": "0" * 64}))
    with pytest.raises(BundleError, match="is another one"):
        champion.load()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"lineages": {}}'])
def test_without_a_champion_the_error_names_both_ways_out(root, content):
    if content is not None:
        (root / "champion.json").write_text(content)
    with pytest.raises(BundleError, match=r"make repro.*DERMAFLOW_BUNDLE=outputs/bundle"):
        champion.load()


def test_a_folder_is_served_on_purpose_and_says_that_it_is_not_promoted(root, monkeypatch, folders):
    monkeypatch.setenv("DERMAFLOW_BUNDLE", str(folders["nine"]))
    loaded = champion.load()
    assert loaded.tag is None
    assert loaded.model == {
        "name": "tiny-demo",
        "version": f"unpromoted:{loaded.bundle.digest[:12]}",
        "digest": loaded.bundle.digest[:12],
        "git_commit": "not promoted",
        "data_md5": "not promoted",
        "mlflow_run_id": "not promoted",
    }


def test_a_folder_named_by_a_tilde_lies_at_home(root, monkeypatch, folders):
    monkeypatch.setenv("HOME", str(folders["nine"].parent))
    monkeypatch.setenv("DERMAFLOW_BUNDLE", "~/nine")
    assert champion.load().bundle.view.name == "nine"
    monkeypatch.setenv("DERMAFLOW_BUNDLE", "~nobody-of-this-name/nine")
    with pytest.raises(BundleError, match=r"^DERMAFLOW_BUNDLE: ~nobody-of-this-name/nine: "):
        champion.load()


def test_a_folder_named_by_a_relative_path_lies_below_the_root(root, monkeypatch, folders):
    (root / "outputs").symlink_to(folders["nine"].parent)
    monkeypatch.setenv("DERMAFLOW_BUNDLE", "outputs/nine")
    assert champion.load().bundle.view.name == "nine"
