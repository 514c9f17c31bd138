"""Stage train@{model}-{fold}: train one member; a killed one goes on from its last finished epoch."""

import shutil
import sys

from dermaflow import outputs, params, tracking
from dermaflow.bundle.params import LabelsParams
from dermaflow.files import digest, digests
from dermaflow.images.store import ShardReader
from dermaflow.model.params import ModelParams
from dermaflow.splits import certificate
from dermaflow.train import member, resume
from dermaflow.train.params import AugmentParams, TrainParams


def main(model: str, fold: int) -> None:
    model_params, train = params.load(ModelParams, model), params.load(TrainParams)
    augment, labels = params.load(AugmentParams), params.load(LabelsParams)
    tables = {"cases": digest(outputs.cases.path), "patients": digest(outputs.patients.path)}
    certificate.check_certificate(outputs.read_json(outputs.path(outputs.certificate)), tables)

    settings = {kind.section: kind.model_dump(mode="json") for kind in (model_params, train, augment, labels)}
    inputs = {**tables, "shards": digest(outputs.inputs(model)), "code": digests("model", "train", "impute")}
    key = resume.key({**settings, **inputs})
    checkpoint = params.root() / ".checkpoints" / f"{key}-{fold}"
    folder = outputs.member_dir(model, fold)
    record = tracking.Record(
        key=f"{key}:{fold}",
        name=f"{model} fold {fold}",
        parent=key,
        parent_name=model,
        params=tracking.flat_params(settings),
        artifacts={folder.relative_to(params.root()).as_posix(): "member"},
        dataset="outputs/cases.parquet",
    )
    with tracking.FoldRun(record) as run:
        trained = member.train_member(
            cases=outputs.cases.read(),
            patients=outputs.patients.read(),
            reader=ShardReader(outputs.images_dir(model_params.stored_px), params.names("releases")),
            view=labels.labels,
            model=model_params,
            train=train,
            augment=augment,
            fold=fold,
            checkpoint_dir=checkpoint,
            on_epoch=run.epoch,
        )
        with outputs.replacing(folder, folder=True) as scratch:
            member.write_member(trained, scratch)
        record.metrics = tracking.flat(trained.metrics)
    shutil.rmtree(checkpoint, ignore_errors=True)
    run.finish()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
