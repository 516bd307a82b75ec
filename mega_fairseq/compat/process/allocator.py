"""How the C library hands out memory on a CPU."""

import ctypes
import os

from mega_fairseq.compat.registry import setting

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MAPPED = 8 * 2**20  # bytes from which on a tensor has pages of its own, which go back when it is freed
KEPT = 2**31 - 1  # bytes of smaller ones that are kept for the next of them


@setting("process", "mallopt of glibc")
def keep_small_tensors() -> bool:
    """Keep the memory of freed tensors below MAPPED; return it at once from there on. True where it is so.

    Left alone, glibc moves the border up to 32 MB as it meets large tensors: those of long sequences leave
    holes between each other then, and what a training step frees at its end is mapped and zeroed again in the
    next one (benchmarks/README.md). Settings of the user's own win.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED) and mallopt(M_TRIM_THRESHOLD, KEPT))
