"""The network: any timm backbone beside a small patient branch, its weights and its ONNX export."""
