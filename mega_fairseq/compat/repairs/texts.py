"""Repairs of how fairseq reads texts: what ends a line, and bytes that are no UTF-8."""

import fileinput
import os
import sys
import types

from fairseq import file_chunker_utils, options
from fairseq.file_chunker_utils import Chunker, ChunkLineIterator

from mega_fairseq.compat.registry import repairs


@repairs(Chunker, "__enter__")
def end_lines_at_line_feeds(original, self):
    """file_chunker_utils.py ends a line at a carriage return: source and target come apart."""
    self.fd = open(self.path, encoding="utf-8", newline="\n")  # noqa: SIM115
    return ChunkLineIterator(self.fd, self.start_offset, self.end_offset)


@repairs(file_chunker_utils, "find_offsets")
def begin_chunks_at_lines(original, filename, num_chunks):
    """file_chunker_utils.py begins a worker's chunk behind a carriage return."""
    size, offsets = os.path.getsize(filename), [0]
    with open(filename, "rb") as file:
        for i in range(1, num_chunks):
            file.seek(size // num_chunks * i)
            file.readline()
            offsets.append(file.tell())
    return [*offsets, size]


@repairs(options, "add_interactive_args")
def read_any_bytes(original, parser):
    """fairseq_cli/interactive.py stops at a byte that is no UTF-8 and ends a line at a carriage return.

    Such bytes become U+FFFD here, and every line gets its translation.
    """
    reading = {"encoding": "utf-8", "errors": "replace", "newline": "\n"}

    def open_text(name, mode):
        if not os.path.isfile(name):
            raise FileNotFoundError(f"there is no file {name}; check --input")
        return open(name, mode, **reading)

    class FileInput(types.ModuleType):
        hook_encoded = staticmethod(lambda encoding, errors=None: open_text)

        def __getattr__(self, name):
            return getattr(fileinput, name)

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(**reading)
    for name in ("__main__", "fairseq_cli.interactive"):
        if getattr(sys.modules.get(name), "fileinput", None) is fileinput:
            sys.modules[name].fileinput = FileInput("fileinput")
    return original(parser)
