"""Freed memory of small tensors is kept, that of large ones returned; the user's settings win."""

import os
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys
import torch, mega_fairseq

class Info(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
mapped = lambda: mallinfo().field4
before = mapped()
small = torch.ones(7 * 2**18)
print(mapped() - before)
before = mapped()
large = torch.ones(9 * 2**18)
print(mapped() - before)
"""


def mapped(**settings):
    """Bytes of pages of their own that a tensor of 7 MB and one of 9 MB have."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | settings
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.split()[-2:]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_border():
    small, large = mapped()
    assert small == 0 and large >= 9 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_the_users_border_wins():
    small, large = mapped(MALLOC_MMAP_THRESHOLD_="1000000")
    assert small >= 7 * 2**20 and large >= 9 * 2**20
