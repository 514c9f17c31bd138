"""Training: draw and augment images, fit one member, resume, predict, write its folder.

Importing it before torch makes torch's threads sleep, not spin, while they wait for each other. On two cores
of which another process (one that augments, or a second fold) takes one, a step of Lite0 was 6 times as fast.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded; the same bytes either way
