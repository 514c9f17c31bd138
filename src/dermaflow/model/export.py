"""A trained network as one ONNX file: any batch, uint8 in, no trace of the machine that wrote it.

Called by stage `bundle`. Also counts what may be served: parameters and multiply-adds, which are stable where
milliseconds are not.
"""

import copy
import warnings
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dermaflow.errors import BundleError
from dermaflow.impute.apply import FEATURES
from dermaflow.model.network import Network, Output

OPSET: Final = 20
INPUTS: Final = ("image", "patient")
OUTPUTS: Final = Output._fields


def export(network: Network, input_px: int, out: Path) -> None:
    """Write the network for serving; the same weights give the same bytes.

    Inputs: `image` (batch, input_px, input_px, 3) uint8 RGB, `patient` (batch, 11) float32. Outputs, all
    float32: `logits`, `plain_logits` (batch, classes), `features` (batch, width), `cam` (batch, classes, y,
    x), `middle` (batch, channels).

    Args:
        network: trained; left as it is.
        input_px: side of its images, fixed in the file.
        out: the .onnx file.

    Raises:
        BundleError: the exporter fixed the batch, or changed an input or output.
    """
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's remarks on axis names and its own future
        program = torch.onnx.export(
            _unfused(network),
            _example(input_px, batch=2),  # a batch of 1 would be taken for the only one
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes={"image": {0: batch}, "patient": {0: batch}},
        )
    if program is None:
        raise BundleError("the exporter returned nothing", out.name, "See its messages above.")
    model = stripped(program.model_proto)
    check(model, out.name)
    out.write_bytes(model.SerializeToString(deterministic=True))


def stripped(model: Any) -> Any:  # noqa: ANN401 - onnx.ModelProto has no types
    """Remove all metadata: the exporter notes stack traces with the paths of its machine."""
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for function in model.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def check(model: Any, name: str) -> None:  # noqa: ANN401
    """Refuse a file that does not keep the contract of `export`.

    Raises:
        BundleError: names, batch axis or structure are not as promised.
    """
    onnx.checker.check_model(model)
    found = {
        "inputs": tuple(value.name for value in model.graph.input),
        "outputs": tuple(value.name for value in model.graph.output),
        "batch": {_batch_axis(value) for value in (*model.graph.input, *model.graph.output)},
    }
    wanted = {"inputs": INPUTS, "outputs": OUTPUTS, "batch": {"batch"}}
    if found != wanted:
        raise BundleError(f"exported {found}, wanted {wanted}", name, "Mend model.export.")


def multiply_adds(network: Network, input_px: int) -> int:
    """Multiply-adds of one pass over one image (convolutions and matrix products); nothing is computed."""
    counter = FlopCounterMode(display=False)
    plain = _unfused(network).to("meta")  # shapes without numbers
    with torch.no_grad(), counter:
        plain(*(part.to("meta") for part in _example(input_px, batch=1)))
    return int(counter.get_total_flops()) // 2


def parameters(network: Network, input_px: int) -> int:
    """Number of weights that an answer depends on; nothing is computed.

    MobileNetV3 and others bring a last layer of their own classifier, which is not used here nor exported.
    """
    plain = _unfused(network).to("meta").requires_grad_(True)
    outputs = plain(*(part.to("meta") for part in _example(input_px, batch=1)))
    sum(output.sum() for output in outputs).backward()
    return sum(weight.numel() for weight in plain.parameters() if weight.grad is not None)


def _unfused(network: Network) -> Network:
    """Return a copy whose attention is plain matrix products.

    Torch's fused kernel can't be exported for any batch from some (MaxViT, BEiT), and on a CPU isn't counted.
    """
    plain = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    for module in plain.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - nn.Module's own types forbid it
    return plain


def _example(input_px: int, batch: int) -> tuple[Tensor, Tensor]:
    image = torch.zeros((batch, input_px, input_px, 3), dtype=torch.uint8)
    return image, torch.zeros((batch, len(FEATURES)))


def _batch_axis(value: Any) -> str:  # noqa: ANN401
    return str(value.type.tensor_type.shape.dim[0].dim_param)
