"""The same file gives the same bytes on every processor."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from images_made import folder_of, jpeg, png

from dermaflow.images.portable import portable

CODE = """
import hashlib, pathlib, sys
from images_made import recipe
from dermaflow.images.facts import image_facts
from dermaflow.images.prepare import encode_stored, decode_stored
seen = hashlib.sha256()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    file = path.read_bytes()
    seen.update(repr(image_facts(file)).encode())
    for crop, colour in [(crop, "none") for crop in ("center", "border", "full", "squash")] + [
        ("center", "shades_of_gray")
    ]:
        for lossless in (0, 256):
            stored = encode_stored(file, recipe(crop, 128, 128, lossless, colour_constancy=colour))
            seen.update(repr(stored).encode() + decode_stored(stored.encoded, 160).tobytes())
print(seen.hexdigest())
"""
SIZES = [(84, 84), (200, 150), (256, 256), (601, 450), (1872, 1053), (3000, 2000)]
PLAIN = {
    "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX512_ICL,AVX2,FP16,FMA3,AVX,SSE4_2",
    "OPENCV_IPP": "disabled",
    "JSIMD_FORCENONE": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F",
}


def digest(folder, **settings):
    env = {**os.environ, **settings, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bytes_are_equal_with_and_without_the_processors_wide_instructions(tmp_path):
    files = {f"{w}.jpg": jpeg(w, h, seed=w) for w, h in SIZES} | {f"{w}.png": png(w, h) for w, h in SIZES[:5]}
    folder_of(tmp_path, files)
    assert digest(tmp_path) == digest(tmp_path, **PLAIN)


@pytest.mark.skipif(not cv2.ipp.useIPP(), reason="this OpenCV has no IPP")
def test_ipp_is_off_inside_only():
    with portable():
        assert not cv2.ipp.useIPP()
    assert cv2.ipp.useIPP()
