"""The same bytes on every processor: OpenCV without IPP.

Intel's IPP, which OpenCV uses where it can, resizes in other ways on other processors. OpenCV's own code
gave equal bytes with AVX2, AVX-512, SSE 4.2 and libjpeg-turbo's SIMD code switched off (a test holds it).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def portable() -> Iterator[None]:
    """Switch IPP off inside, in this thread (it is a setting of each thread); also a decorator."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
