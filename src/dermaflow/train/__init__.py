"""Training: draw and augment images, fit one member, resume, predict, write its folder.

Importing it before torch sets what torch's steps take on a CPU without asking; the bytes are the same either
way. Its threads wait for each other a little before they sleep: spinning for long, as by default, takes the
core that another process (one that augments, or a second fold) needs, and sleeping at once wakes too slowly.
And the process keeps the memory that it frees: a step frees and takes some GB, and every page that comes
anew from the system has to be cleared first. Both together made a step of Lite0 faster by half.
"""

import ctypes
import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when torch is loaded


def _keep_freed_memory() -> None:
    """Tell glibc's malloc to serve large blocks from one heap that only grows; elsewhere change nothing."""
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((m_mmap_max, 0), (m_trim_threshold, 2**31 - 1), (m_arena_max, 1)):
            mallopt(option, value)


_keep_freed_memory()
