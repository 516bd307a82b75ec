"""What the libraries read from the environment as torch is loaded. The user's own values win."""

import os
import sys

from mega_fairseq.compat.registry import setting


@setting("process", "OMP_WAIT_POLICY, GOMP_SPINCOUNT of the environment")
def spin_for_a_moment() -> bool:
    """libgomp lets threads spin for long, which slow each other down on shared cores, or sleep at once, which
    is slower on idle ones (benchmarks/threads.py): they spin for a moment, unless torch is loaded already.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    return os.environ.get("GOMP_SPINCOUNT") == "1000"


@setting("process", "THP_MEM_ALLOC_ENABLE of the environment")
def use_large_pages() -> bool:
    """torch's large tensors have pages of 4 kB, of which the kernel maps and zeroes more than of 2 MB, which
    they have here (benchmarks/README.md).
    """
    return os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1") == "1"
