"""A training learns, stops, goes on after a kill, and refuses what can't be trained."""

import errno
import io
import pickle
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import Timeout

import dermaflow
from dermaflow.bundle.apply import softmax
from dermaflow.errors import TrainingError
from dermaflow.model.network import build, stages
from dermaflow.train import loop, machine, resume
from dermaflow.train.params import AugmentParams
from dermaflow.train.predict import predict
from dermaflow.train.sampling import Rows

CLASSES = ("MEL", "NV", "BCC")


@pytest.fixture
def run(rows, reader, tiny_model, tiny_train):
    def fit(model=None, train=None, training=None, validation=None, **more):
        model, train = model or tiny_model(), train or tiny_train()
        torch.manual_seed(train.seed)
        return loop.fit(
            build(model, 3),
            rows(48) if training is None else training,
            rows(12, start=48) if validation is None else validation,
            reader,
            classes=CLASSES,
            model=model,
            train=train,
            augment=AugmentParams(),
            **{"workers": 0, **more},
        )

    return fit


def content(fitted):
    return {name: value.numpy().tobytes() for name, value in fitted.network.state_dict().items()}


def test_training_learns_what_colour_tells(run, tiny_model, reader, rows):
    fitted = run(tiny_model(epochs=6, lr=0.003, ema=0.8, drawn_images=96))
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert max(record["accuracy"] for record in fitted.history) > 0.8
    assert [record["epoch"] for record in fitted.history] == [1, 2, 3, 4, 5, 6]


def test_the_weights_that_are_kept_are_averaged_as_far_back_as_ema_says(run, tiny_model):
    averaged = [content(run(tiny_model(epochs=1, ema=decay, drawn_images=96))) for decay in (0, 0.5, 0.99)]
    assert len({tuple(one.values()) for one in averaged}) == 3


def test_the_best_weights_are_kept_and_not_the_last(run, monkeypatch, tiny_model):
    seen, accuracies = [], iter([0.2, 0.9, 0.5])
    real = loop.Fitting.finish_epoch

    def scripted(self, loss, figures, monitored):
        seen.append(self.average.module.head.weight.detach().clone())
        real(self, loss, {**figures, "accuracy": next(accuracies)}, monitored)

    monkeypatch.setattr(loop.Fitting, "finish_epoch", scripted)
    fitted = run(tiny_model(epochs=3))
    assert fitted.best_epoch == 2
    assert torch.equal(fitted.network.head.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("monitored", ["accuracy", "balanced_accuracy", "melanoma_auc"])
def test_training_stops_when_the_monitored_figure_has_not_risen_for_patience(
    monitored, run, monkeypatch, tiny_model, tiny_train
):
    values = iter([0.5, 0.7, 0.7, 0.6, 0.9, 0.9])
    constant = {"valid_loss": 1.0, "accuracy": 0.1, "balanced_accuracy": 0.1, "melanoma_auc": 0.1}
    monkeypatch.setattr(loop.monitor, "figures", lambda *_, **__: {**constant, monitored: next(values)})
    fitted = run(tiny_model(epochs=6, drawn_images=8), tiny_train(patience=2, monitor=monitored))
    assert (len(fitted.history), fitted.best_epoch) == (4, 2)  # an equal figure is no rise


@pytest.fixture
def rising(monkeypatch):
    """Let each epoch be the best, so that the last one's weights are compared."""
    real = loop.Fitting.finish_epoch

    def finish(self, loss, figures, monitored):
        real(self, loss, {**figures, monitored: self.epoch / 100}, monitored)

    monkeypatch.setattr(loop.Fitting, "finish_epoch", finish)


@pytest.mark.usefixtures("rising")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_training_goes_on_to_the_same_bytes(killed_after, workers, run, tmp_path):
    class KilledError(Exception):
        pass

    def kill(record):
        if record["epoch"] == killed_after:
            raise KilledError

    whole = run(workers=workers)
    with pytest.raises(KilledError):
        run(workers=workers, checkpoint_dir=tmp_path, on_epoch=kill)
    assert [file.name for file in tmp_path.iterdir()] == [resume.FILE]
    told = []
    resumed = run(workers=workers, checkpoint_dir=tmp_path, on_epoch=told.append)
    assert [record["epoch"] for record in told] == list(range(killed_after + 1, 4))
    assert content(resumed) == content(whole)
    assert resumed.history == whole.history


@pytest.mark.usefixtures("rising")
def test_the_same_seed_gives_the_same_bytes_whatever_the_workers_and_another_does_not(run, tiny_train):
    one, *same = (run(workers=workers) for workers in (0, 1, 2))
    for other in same:
        assert content(one) == content(other)
        assert one.history == other.history
    assert content(one) != content(run(train=tiny_train(seed=8)))


def test_a_state_is_replaced_whole_and_a_damaged_one_is_named(tmp_path):
    resume.save(tmp_path, {"epoch": 1})
    resume.save(tmp_path, {"epoch": 2})
    assert resume.load(tmp_path) == {"epoch": 2}
    file = tmp_path / resume.FILE
    resume.save(tmp_path, {"weight": torch.arange(1000.0)})
    whole = file.read_bytes()
    at = whole.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    for damaged in (whole[:100], whole[:at] + bytes(512) + whole[at + 512 :], whole[:-1]):
        file.write_bytes(damaged)
        with pytest.raises(TrainingError, match="Remove it; the training then starts over"):
            resume.load(tmp_path)
    assert resume.load(tmp_path / "absent") is None
    for content, why in (
        (b"", "it is empty or cut off"),
        (pickle.dumps(print, protocol=2), "more than tensors"),
    ):
        file.write_bytes(content)
        with pytest.raises(TrainingError, match=f"damaged: .*{why}[^\n]*\\. Remove it"):
            resume.load(tmp_path)


def test_whoever_is_killed_while_saving_leaves_the_old_state_whole(tmp_path, monkeypatch):
    resume.save(tmp_path, {"epoch": 1})

    whole = Path.write_bytes
    for error in (KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")):

        def half(file, content, error=error):
            whole(file, content[:7])
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", half)
            with pytest.raises(type(error)):
                resume.save(tmp_path, {"epoch": 2})
        assert resume.load(tmp_path) == {"epoch": 1}
        assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_keys_tell_trainings_apart(tmp_path, monkeypatch):
    """Whatever changes the bytes; a training on a GPU does not go on from the state of one on a CPU."""
    here = machine.described("float32", 2)
    gpu = {**here, "device": "a GPU", "precision": "bf16"}
    plain = resume.key({"a": 1, "b": 2}, here, "none")
    assert plain == resume.key({"b": 2, "a": 1}, here, "none")
    found = [
        plain,
        resume.key({"a": 1, "b": 3}, here, "none"),
        resume.key({"a": 1, "b": 2}, machine.described("float32", 3), "none"),
        resume.key({"a": 1, "b": 2}, gpu, "none"),
    ]
    for library in ("torch", "timm", "albumentations", "opencv-python-headless", "numpy"):
        with monkeypatch.context() as patched:
            patched.setattr(resume, "version", lambda name, of=library: "0" if name == of else version(name))
            found.append(resume.key({"a": 1, "b": 2}, here, "none"))
    home = Path(shutil.copytree(Path(dermaflow.__file__).parent, tmp_path / "dermaflow"))
    monkeypatch.setattr(dermaflow, "__file__", str(home / "__init__.py"))
    assert resume.key({"a": 1, "b": 2}, here, "none") == plain
    for file in ("images/decode.py", "bundle/apply.py", "train/loop.py", "taxonomy.py"):
        with (home / file).open("a") as code:
            code.write("#")
        found.append(resume.key({"a": 1, "b": 2}, here, "none"))
    assert len(set(found)) == len(found)


def test_a_second_training_of_the_same_fold_is_refused_while_the_first_is_at_work(tmp_path):
    with resume.alone(tmp_path / "state"):
        said = r"another process trains this very fold.*end it and run"
        with pytest.raises(TrainingError, match=said), resume.alone(tmp_path / "state"):
            pass
        with resume.alone(tmp_path / "another"):
            pass
    with pytest.raises(Timeout), resume.alone(tmp_path / "state"):  # some other lock's, within
        raise Timeout("mlflow")
    with resume.alone(tmp_path / "state"):
        resume.save(tmp_path / "state", {"epoch": 1})


def test_history_holds_no_timing_but_the_callback_is_told(run, tiny_model):
    told = []
    fitted = run(tiny_model(epochs=1), on_epoch=told.append)
    assert set(told[0]) - set(fitted.history[0]) == {"images_per_second", "precision"}
    assert told[0]["images_per_second"] > 0


def test_bf16_trains_and_returns_float32_weights(fresh_accelerate, run, tiny_model, tiny_train):
    told = []
    fitted = run(tiny_model(epochs=1), tiny_train(precision="bf16"), on_epoch=told.append)
    assert told[0]["precision"] == "bf16"
    assert fitted.network.head.weight.dtype == torch.float32
    fresh_accelerate()
    assert content(fitted) != content(run(tiny_model(epochs=1)))


def test_a_loss_that_is_no_number_stops_with_its_step(run, monkeypatch):
    monkeypatch.setattr(loop.Fitting, "one_step", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1\. Lower models"):
        run()


def test_an_answer_that_is_no_number_is_no_best_epoch(run, monkeypatch):
    monkeypatch.setattr(loop, "validate", lambda *_, **__: np.full((4, 9), np.nan))
    with pytest.raises(
        TrainingError, match=r"validation after epoch 1: an answer is no number\. Lower models"
    ):
        run()


def test_a_rate_that_makes_the_weights_explode_stops_with_a_remedy(run, tiny_model):
    with pytest.raises(TrainingError, match=r"epoch 1: the loss is (nan|inf) at step \d+\. Lower models"):
        run(tiny_model(lr=1e30, warmup_share=0, clip_grad=None))


def test_what_can_not_be_trained_is_refused(run, rows, tiny_train, tiny_model):
    no_rows = rows(0)
    with pytest.raises(TrainingError, match="no validation image is left"):
        run(validation=no_rows)
    with pytest.raises(TrainingError, match="no training image is left"):
        run(training=no_rows)
    some = rows(48)
    with pytest.raises(TrainingError, match="no training image has diagnosis BCC"):
        run(training=some.take(some.targets != 2))
    with pytest.raises(TrainingError, match="0 of 32 validation images are melanoma"):
        run(train=tiny_train(monitor="melanoma_auc"), validation=some.take(some.targets != 0))
    with pytest.raises(
        TrainingError, match=r"no validation image has diagnosis NV\. Set train\.monitor to acc"
    ):
        run(train=tiny_train(monitor="balanced_accuracy"), validation=some.take(some.targets != 1))
    with pytest.raises(TrainingError, match="an epoch of 48 images is smaller than a batch of 64"):
        run(train=tiny_train(batch=64))


def test_a_class_that_the_validation_fold_lacks_does_not_stop_a_training_on_accuracy(run, rows, tiny_model):
    some = rows(12, start=48)
    fitted = run(tiny_model(epochs=1), validation=some.take(some.targets != 1))
    assert 0 <= fitted.history[0]["balanced_accuracy"] <= 1


def unseen_colours(count, classes):
    """Images that tell nothing: what a network says of them is what it holds for common."""
    chance = np.random.default_rng(5)
    pixels = {f"i{n}": chance.integers(0, 256, (32, 32, 3)).astype(np.uint8) for n in range(count)}
    reader = type("Noise", (), {"pixels": lambda _self, image_id, _px: pixels[image_id]})()
    rows = Rows(
        tuple(pixels),
        np.zeros((count, 11), np.float32),
        chance.permutation(classes)[:count],
        np.zeros(count, int),
    )
    return rows, reader


@pytest.mark.slow
@pytest.mark.parametrize("power", [0, 0.5])
def test_the_logits_carry_the_learned_prior_and_not_the_drawn_one(power, tiny_model, tiny_train):
    """From images that tell nothing a network learns the class shares alone, weights included."""
    rows, reader = unseen_colours(96, np.repeat([0, 1, 2], [12, 66, 18]))
    model = tiny_model(
        epochs=12, drawn_images=192, sampler_power=power, class_weights="balanced",
        lr=1e-6, head_lr_factor=2e4, dropout=0, label_smoothing=0, patient=False, ema=0.9,
    )  # fmt: skip
    torch.manual_seed(1)
    fitted = loop.fit(
        build(model, 3), rows, rows.take(slice(0, 30)), reader,
        classes=CLASSES, model=model, train=tiny_train(patience=99), augment=AugmentParams(), workers=0,
    )  # fmt: skip
    logits = predict(fitted.network, reader, rows.image_ids, rows.patients, input_px=32, views=1, batch=32)
    said = softmax(logits["logits"]).mean(axis=0)
    assert fitted.learned == pytest.approx([1 / 3] * 3)
    assert said == pytest.approx(fitted.learned, abs=0.06)
    shifted = softmax(logits["logits"] + np.log(fitted.natural / fitted.learned)).mean(axis=0)
    assert shifted == pytest.approx(fitted.natural, abs=0.06)


def test_class_weights_change_the_weights_that_are_learned(run, tiny_model, rows):
    some = rows(48)
    uneven = some.take(np.flatnonzero((some.targets != 0) | (np.arange(48) < 12)))
    one, other = (
        run(tiny_model(epochs=1, class_weights=kind), training=uneven) for kind in ("none", "balanced")
    )
    assert content(one) != content(other)


def test_a_centre_of_more_weight_lends_its_classes_to_what_is_learned(run, tiny_model, rows):
    some = rows(60)
    uneven = some.take(np.flatnonzero((some.targets != 2) | (some.centres == 0)))  # class 2: North alone
    plain, north = (
        run(
            tiny_model(epochs=1, sampler_counts="class_and_centre", centre_weights=weights), training=uneven
        ).learned
        for weights in ({}, {"North": 9})
    )
    assert north[2] > 1.2 * plain[2]
    assert north.sum() == pytest.approx(1)


def test_a_logit_adjusted_loss_learns_all_classes_as_if_equally_frequent(run, rows, monkeypatch, tiny_model):
    seen, real = [], loop.Fitting.one_step

    def noted(self, batch):
        with torch.no_grad():
            logits = self.network.eval()(*batch[:2]).logits
        added = self.added[batch[3]]
        wanted = torch.nn.functional.cross_entropy(logits + added, batch[2])
        seen.append((float(wanted), real(self, batch), self.added))
        return seen[-1][1]

    monkeypatch.setattr(loop.Fitting, "one_step", noted)
    some = rows(60)
    uneven = some.take(np.flatnonzero((some.targets != 2) | (some.centres == 0)))
    fitted = run(
        tiny_model(
            epochs=1, loss="logit_adjusted", sampler_counts="class_and_centre", dropout=0, label_smoothing=0
        ),
        training=uneven,
    )
    added = seen[0][2]
    assert added[1, 2] < added[0, 2] < 0  # none of class 2 was drawn from centre 1
    assert fitted.learned == pytest.approx([1 / 3] * 3)
    assert all(loss == pytest.approx(wanted, rel=1e-4) for wanted, loss, _ in seen)


def test_a_steps_loss_is_smoothed_its_gradient_clipped_and_its_memory_channels_last(
    run, monkeypatch, tiny_model
):
    """As `label_smoothing` and `clip_grad` say; channels_last is worth half of the time on a CPU."""
    seen, real = [], loop.Fitting.one_step

    def noted(self, batch):
        with torch.no_grad():
            logits = self.network.eval()(*batch[:2]).logits
        wanted = torch.nn.functional.cross_entropy(logits, batch[2], label_smoothing=0.4)
        norms = []
        with monkeypatch.context() as patched:
            step = self.optimizer.step
            gradients = lambda: [p.grad.norm() for p in self.plain.parameters() if p.grad is not None]  # noqa: E731
            patched.setattr(
                self.optimizer, "step", lambda: (norms.append(torch.stack(gradients()).norm()), step())
            )
            seen.append((real(self, batch), float(wanted), float(norms[0])))
        for network in (self.plain, self.average.module):
            stem = network.backbone.conv_stem.weight
            assert stem.is_contiguous(memory_format=torch.channels_last)
        return seen[-1][0]

    monkeypatch.setattr(loop.Fitting, "one_step", noted)
    clipped = tiny_model(epochs=1, label_smoothing=0.4, clip_grad=0.01, dropout=0, patient_drop=0)
    run(clipped)
    assert all(loss == pytest.approx(wanted, rel=1e-4) for loss, wanted, _ in seen)
    assert all(norm <= 0.01001 for *_, norm in seen)
    seen.clear()
    run(clipped.model_copy(update={"clip_grad": None}))
    assert all(norm > 0.05 for *_, norm in seen)


def test_the_bar_tells_images_and_not_batches(run, monkeypatch, tiny_model):
    seen, real = io.StringIO(), loop.tqdm
    monkeypatch.setattr(
        loop, "tqdm", lambda *a, **k: real(*a, **{**k, "file": seen, "disable": False, "mininterval": 0})
    )
    run(tiny_model(epochs=1))
    assert "| 8/48 [" in seen.getvalue()
    assert "images/s" in seen.getvalue()


def test_the_bar_is_quiet_where_there_is_no_terminal(run, capfd, tiny_model):
    run(tiny_model(epochs=1))
    assert capfd.readouterr().err == ""


def test_new_layers_learn_faster_and_only_matrices_decay(tiny_model):
    model = tiny_model(lr=0.01, head_lr_factor=5, weight_decay=0.1)
    network = build(model, 3)
    found = loop.groups(network, model)
    by_id = {id(p): (group["lr"], group["weight_decay"]) for group in found for p in group["params"]}
    named = {name: by_id[id(p)] for name, p in network.named_parameters()}
    assert len(by_id) == len(list(network.parameters()))
    assert named["head.weight"] == pytest.approx((0.05, 0.1))
    assert named["head.bias"] == pytest.approx((0.05, 0))
    assert named["backbone.conv_stem.weight"] == pytest.approx((0.01, 0.1))
    assert named["backbone.bn1.weight"] == pytest.approx((0.01, 0))


def test_each_stage_learns_at_a_share_of_the_rate_of_the_one_above(tiny_model):
    model = tiny_model(lr=0.01, layer_decay=0.5, head_lr_factor=5)
    network = build(model, 3)
    rates = {id(p): group["lr"] for group in loop.groups(network, model) for p in group["params"]}
    named = {name: rates[id(p)] for name, p in network.named_parameters()}
    stage = stages(network.backbone)
    last = max(stage.values())
    assert named["head.weight"] == pytest.approx(0.05)
    assert named["backbone.conv_stem.weight"] == pytest.approx(0.01 * 0.5**last)
    for name, number in stage.items():
        assert named[f"backbone.{name}"] == pytest.approx(0.01 * 0.5 ** (last - number))
    assert (
        stage["conv_head.weight"]
        == last
        > stage["blocks.1.0.conv_exp.weight"]
        > stage["conv_stem.weight"]
        == 0
    )


def test_frozen_stages_stay_as_they_were_and_the_others_learn(run, tiny_model):
    model = tiny_model(epochs=1, frozen_stages=3)
    torch.manual_seed(7)
    before = build(model, 3).state_dict()
    after = run(model).network.state_dict()
    stage = {**dict.fromkeys(("conv_stem", "bn1"), 0), "blocks.0": 1, "blocks.1": 2}
    frozen = tuple(f"backbone.{name}." for name in stage)
    for name, value in after.items():
        same = torch.equal(value, before[name])
        assert same if name.startswith(frozen) else not same or "num_batches" in name or name.endswith("bias")


def test_early_epochs_may_see_smaller_images(run, monkeypatch, tiny_model):
    seen, real = [], loop.Fitting.one_step

    def noted(self, batch):
        seen.append(batch[0].shape[1])
        return real(self, batch)

    monkeypatch.setattr(loop.Fitting, "one_step", noted)
    found = run(tiny_model(epochs=3, early_px=32, early_epochs=2, stored_px=64, input_px=64))
    assert seen == [32] * 12 + [64] * 6
    assert len(found.history) == 3


def test_the_rate_rises_then_falls_to_nothing(run, tiny_model):
    rates = []
    real = loop.Fitting.one_step

    def noted(self, batch):
        rates.append(max(group["lr"] for group in self.optimizer.param_groups))
        return real(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Fitting, "one_step", noted)
        run(tiny_model(epochs=2, drawn_images=40, warmup_share=0.4, lr=0.001, head_lr_factor=1))
    assert len(rates) == 10
    assert np.argmax(rates) == 3
    assert rates[3] == pytest.approx(0.001)
    assert 0 < rates[0] < rates[1]
    assert rates[8] > rates[9] >= 0


def test_torch_is_left_as_it_was(run, tiny_model, tiny_train):
    def state():
        filled = torch.utils.deterministic.fill_uninitialized_memory
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), filled

    before = state()
    run(tiny_model(epochs=1), tiny_train(threads=before[0] + 1))
    assert state() == before
