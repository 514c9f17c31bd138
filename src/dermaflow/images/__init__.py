"""From image bytes to the pixels that a network sees; one way through, for training, evaluation and service.

`prepare` is that way and needs OpenCV, numpy and Pillow (for colour profiles) only; `store` keeps its middle
as Arrow shards; `facts` looks at files as found; `contact` shows what was done.
"""
