"""What is shipped: its format, the arithmetic from logits to answer, the gate and the registry."""
