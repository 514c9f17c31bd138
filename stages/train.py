"""Stage train@{model}-{fold}: train one member; a killed one goes on from its last finished epoch."""

import sys
from functools import partial
from pathlib import Path

from dermaflow import outputs, params, stage, tracking
from dermaflow.bundle.params import LabelsParams
from dermaflow.files import digest
from dermaflow.images.store import ShardReader
from dermaflow.model.params import ModelParams
from dermaflow.splits import certificate
from dermaflow.train import machine, member, resume, sheet
from dermaflow.train.augment import Augment
from dermaflow.train.params import AugmentParams, TrainParams


def main(model: str, fold_number: str) -> Path | None:
    fold = params.whole(fold_number, "folds")
    network, train = params.load(ModelParams, model), params.load(TrainParams)
    augment, labels = params.load(AugmentParams), params.load(LabelsParams)
    tables = {"cases": digest(outputs.cases.path), "patients": digest(outputs.patients.path)}
    certificate.check_certificate(outputs.read_json(outputs.path(outputs.certificate)), tables)

    settings = {kind.section: kind.model_dump(mode="json") for kind in (network, train, augment, labels)}
    inputs = {**tables, "shards": digest(outputs.inputs(model))}
    computed = machine.described(train.precision, train.threads)
    key = f"{model}:{resume.key({**settings, **inputs}, computed, network.weights)}"
    learned = {**settings, TrainParams.section: train.model_dump(mode="json", exclude={"views"})}
    state = resume.key({**learned, **inputs}, computed, network.weights)  # views change no weight
    checkpoint = stage.state(model, str(fold), state)
    folder, sheets = outputs.member_dir(model, fold), outputs.sheets_dir(f"augment/{model}", fold)
    cases = outputs.cases.read()
    reader = ShardReader(outputs.images_dir(network.stored_px), params.names("releases"))
    fit = partial(
        member.train_member,
        cases=cases,
        patients=outputs.patients.read(),
        reader=reader,
        view=labels.labels,
        model=network,
        train=train,
        augment=augment,
        fold=fold,
        workers=params.workers(),
        checkpoint_dir=checkpoint,
    )
    if not machine.is_first():  # torchrun's further processes train along; the first one writes and tells
        fit()
        return None

    stage.drop_finished(model, str(fold), but=checkpoint)
    with outputs.replacing(sheets, folder=True) as scratch:
        file, px = scratch / "augmented.png", network.input_px
        sheet.augmented(
            reader, cases, labels.labels, fold, Augment(augment), input_px=px, seed=train.seed, out=file
        )
    print(f"{model} fold {fold}: {', '.join(f'{name} {value}' for name, value in computed.items())}")
    record = tracking.Record(
        key=f"{key}:{fold}",
        name=f"{model} fold {fold}",
        parent=key,
        parent_name=model,
        params=tracking.flat_params(
            settings | {"images": outputs.read_json(outputs.inputs(model))["recipe"]}
        ),
        tags=computed,
        artifacts={made.relative_to(params.root()).as_posix(): "member" for made in (folder, sheets)},
        dataset="outputs/cases.parquet",
    )
    with resume.alone(checkpoint), tracking.FoldRun(record) as run:
        trained = fit(on_epoch=run.epoch)
        with outputs.replacing(folder, folder=True) as scratch:
            member.write_member(trained, scratch)
        record.metrics = tracking.flat(trained.metrics)
        record.history += [tracking.flat(epoch) for epoch in trained.fitted.history]  # of before a kill, too
    run.finish()
    return checkpoint  # evaluate drops it


if __name__ == "__main__":
    stage.run(main, sys.argv[1], sys.argv[2])
