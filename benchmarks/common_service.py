"""The usual way to serve networks: FastAPI, Pillow, torchvision, torch eager. Run by serve.py.

Same members, views and weights as the bundle; of the rest it does nothing: no patient data, no calibration,
no look at whether the image shows skin. It imports no more of dermaflow than the network's definition.
"""

import argparse
import io
import json
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import functional

from dermaflow.impute.apply import FEATURES
from dermaflow.model.network import Network, build
from dermaflow.model.params import ModelParams
from dermaflow.taxonomy import VIEWS

FLIPS = ([], [1], [0], [0, 1])
NO_PATIENT = torch.zeros(len(FLIPS), len(FEATURES))


def open_member(folder: Path) -> tuple[Network, int]:
    """Return a member's network and the side of its input, pixels."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = ModelParams.model_validate(config["model"])
    network = build(model, len(VIEWS[config["view"]].classes), pretrained=False)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval(), model.input_px


def application(members: list[Path], views: int) -> FastAPI:
    """Build the app that everyone writes first: what it computes, it computes where it answers."""
    networks = [open_member(folder) for folder in members]
    app = FastAPI()

    @app.post("/predict")
    async def predict(image: UploadFile) -> list[tuple[int, float]]:
        rgb = Image.open(io.BytesIO(await image.read())).convert("RGB")
        shares = []
        with torch.inference_mode():
            for network, px in networks:
                square = functional.pil_to_tensor(functional.center_crop(functional.resize(rgb, px), px))
                pixels = square.permute(1, 2, 0)
                batch = torch.stack([pixels.flip(axes) for axes in FLIPS[:views]])
                shares.append(network(batch, NO_PATIENT[:views]).logits.mean(0).softmax(-1))
        best = torch.stack(shares).mean(0).topk(3)
        return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=Path, nargs="+", required=True, help="folders of outputs/models")
    parser.add_argument("--views", type=int, choices=(1, 4), required=True)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    uvicorn.run(application(asked.members, asked.views), port=asked.port, log_level="error")


if __name__ == "__main__":
    main()
