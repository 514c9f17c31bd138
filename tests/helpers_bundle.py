"""A tiny real bundle: random networks in ONNX with the inputs and outputs of real ones.

The answer changes with the image, with its orientation and with the patient, so that a mix-up shows.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle import ood
from dermaflow.bundle.apply import Calibration
from dermaflow.bundle.format import Bundle, Member
from dermaflow.bundle.ood import OodDetector
from dermaflow.images.prepare import Recipe
from dermaflow.impute.apply import FEATURES, Imputer
from dermaflow.taxonomy import VIEWS

WIDTH = 8
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}
NOTICE = "Random networks. They prove nothing."


def network(target: Path, input_px: int, classes: int, seed: int) -> None:
    """Write one ONNX network with random weights."""
    rng = np.random.default_rng(seed)
    pixels = input_px * input_px * 3
    weights = {
        "shape": np.array([-1, pixels], np.int64),
        "both_sides": np.array([1, 2], np.int64),
        "low": np.array(127.5, np.float32),
        "spread": rng.normal(size=(pixels, WIDTH)).astype(np.float32) / np.float32(np.sqrt(pixels)) * 4,
        "head": rng.normal(size=(WIDTH, classes)).astype(np.float32),
        "patient_head": rng.normal(size=(len(FEATURES), classes)).astype(np.float32) / 3,
        "map_head": rng.normal(size=(classes, 3, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "low"], ["centred"]),
        helper.make_node("Div", ["centred", "low"], ["normal"]),
        helper.make_node("Reshape", ["normal", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "spread"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["features"]),
        helper.make_node("ReduceMean", ["normal", "both_sides"], ["middle"], keepdims=0),
        helper.make_node("MatMul", ["features", "head"], ["plain_logits"]),
        helper.make_node("MatMul", ["patient", "patient_head"], ["shift"]),
        helper.make_node("Add", ["plain_logits", "shift"], ["logits"]),
        helper.make_node("Transpose", ["normal"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool",
            ["channels"],
            ["pooled"],
            kernel_shape=[input_px // 4] * 2,
            strides=[input_px // 4] * 2,
        ),
        helper.make_node("Conv", ["pooled", "map_head"], ["cam"]),
    ]

    def floats(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", input_px, input_px, 3]),
            floats("patient", len(FEATURES)),
        ],
        [
            floats("logits", classes),
            floats("plain_logits", classes),
            floats("features", WIDTH),
            floats("cam", classes, 4, 4),
            floats("middle", 3),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString())


def tiny_bundle(
    folder: Path, view: str = "nine", *, seed: int = 0, name: str = "tiny-demo", detector: bool = True
) -> Bundle:
    """Write a bundle of two members that want pixels of different recipes, and read it.

    Its detector takes what is far from grey, on average over the image, for something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = len(VIEWS[view].classes)
    members = []
    for number, stored_px in enumerate((48, 64)):
        file = f"tiny-{number}.onnx"
        network(folder / file, 32, classes, seed=seed * 10 + number)
        members.append(
            Member(
                model="tiny",
                fold=number,
                file=file,
                sha256=hashlib.sha256((folder / file).read_bytes()).hexdigest(),
                recipe=Recipe("center", stored_px, 32, 256, 95, 30_000_000),
                multiply_adds=32 * 32 * 3 * WIDTH,
                parameters=32 * 32 * 3 * WIDTH,
            )
        )
    if detector:
        OodDetector((np.zeros(3, np.float32),) * 2, (np.eye(3, dtype=np.float32),) * 2).write(
            folder / ood.FILE
        )
    prior = np.linspace(2, 1, classes) / np.linspace(2, 1, classes).sum()
    Bundle(
        name=name,
        notice=NOTICE,
        demo=True,
        view=VIEWS[view],
        members=tuple(members),
        views=4,
        calibration=Calibration(np.array([0.4, 0.6]), np.zeros((2, classes)), 1.2, prior),
        imputer=Imputer(51.0, "male", "torso"),
        decision={
            "malignant_threshold": 0.3,
            "sensitivity": 0.95,
            "set_thresholds": np.linspace(0.05, 0.2, classes).tolist(),
            "set_coverage": 0.9,
        },
        ood_sha256=hashlib.sha256((folder / ood.FILE).read_bytes()).hexdigest() if detector else None,
        metrics={
            **dict.fromkeys(("balanced_accuracy", "melanoma_auc", "macro_auc", "ece"), FIGURE),
            "cases": 40,
            "groups": 30,
            "operating_point": {
                **dict.fromkeys(("specificity", "referred"), FIGURE),
                "sensitivity": {"value": 0.83333, "low": 0.6, "high": 1.0},
            },
        },
        inputs={"holdout": "0" * 64},
    ).write(folder)
    return bundle_format.read(folder)


def picture(seed: int = 0, size: tuple[int, int] = (60, 45), extension: str = ".jpg") -> bytes:
    """An image file of blurred noise, (width, height) pixels, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return bytes(cv2.imencode(extension, cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))[1])


def other_thing() -> bytes:
    """An image file that the tiny bundle's detector takes for something else: a white sheet."""
    return bytes(cv2.imencode(".png", np.full((45, 60, 3), 255, np.uint8))[1])


STORE = """
import sys
from pathlib import Path
import bentoml
folder, tag = Path(sys.argv[1]), sys.argv[2]
with bentoml.models.create(tag) as model:
    for file in folder.iterdir():
        Path(model.path_of(file.name)).write_bytes(file.read_bytes())
"""


def promote(root: Path, folder: Path, bentoml_home: Path) -> dict[str, str]:
    """Put a bundle into BentoML's store below `bentoml_home` and write champion.json in `root`.

    A process of its own does it, because BentoML reads BENTOML_HOME once.
    """
    bundle = bundle_format.read(folder)
    tag = f"{bundle.name}:{bundle.digest[:12]}"
    bentoml_home.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "BENTOML_HOME": str(bentoml_home)}
    subprocess.run([sys.executable, "-c", STORE, str(folder), tag], check=True, env=env)
    record = {
        "name": bundle.name,
        "tag": tag,
        "version": "7",
        "digest": bundle.digest,
        "git_commit": "c" * 40,
        "data_md5": "d" * 32,
        "mlflow_run_id": "e" * 32,
    }
    (root / "champion.json").write_text(json.dumps({**record, "lineages": {bundle.name: [record]}}))
    return record
