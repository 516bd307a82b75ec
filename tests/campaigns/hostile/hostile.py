"""Every hostile checkpoint of tests/security against every entry that reads one, under guard.

    OMP_NUM_THREADS=1 nice -n 10 .venv/bin/python tests/campaigns/hostile/hostile.py

Writes hostile.json beside this file: for each kind and entry "refused", "taken" (its hostile part has no
effect there), or what went wrong; and the sentences that refuse it. About 20 minutes on one core. With
--resume, what the file holds is not tried again, except what went wrong.
"""

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "security"))

from entries import ENTRIES, Guarded, expected  # noqa: E402
from test_hostile_checkpoints import KINDS  # noqa: E402


def tried(guard, entry, kind):
    """What became of it, and the sentence that refused it."""
    with tempfile.TemporaryDirectory(dir=guard.folder) as folder:
        try:
            status, last = guard.attempt(entry, kind, Path(folder))
        except AssertionError as error:
            return f"FAULT: {str(error).strip()[-300:] or 'see the test'}", ""
        says = last.partition(": ")[2].replace(folder, "FOLDER")
    if status not in expected(entry, kind):
        return f"FAULT: exit status {status}: {says[:300]}", ""
    return ("refused", says[:300]) if status else ("taken", "")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", nargs="+", default=list(ENTRIES), choices=ENTRIES)
    parser.add_argument("--out", type=Path, default=HERE / "hostile.json")
    parser.add_argument("--resume", action="store_true", help="go on from the file")
    options = parser.parse_args()
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.resume else {}
    begin, found = time.time(), before.get("found", {})
    with tempfile.TemporaryDirectory() as folder:
        guard = Guarded(Path(folder))
        for name, kind in KINDS.items():
            known = found.get(name, {"entries": {}, "sentences": []})
            entries, sentences = known["entries"], set(known["sentences"])
            for entry in options.entries:
                if not entries.get(entry, "FAULT").startswith("FAULT"):
                    continue
                entries[entry], says = tried(guard, entry, kind)
                sentences |= {says} - {""}
            found[name] = {"expected to be refused": kind.refused, "entries": entries}
            found[name] |= {"taken because": kind.why} if kind.why else {}
            found[name] |= {"sentences": sorted(sentences)}
            print(name, {outcome[:60] for outcome in entries.values()}, flush=True)
        guard.close()
    outcomes = [outcome for kind in found.values() for outcome in kind["entries"].values()]
    report = {
        "torch": version("torch"),
        "kinds": len(found),
        "entries": len(options.entries),
        "refused": outcomes.count("refused"),
        "taken": outcomes.count("taken"),
        "faults": sum(outcome.startswith("FAULT") for outcome in outcomes),
        "minutes": round(before.get("minutes", 0) + (time.time() - begin) / 60, 1),
        "found": found,
    }
    options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return bool(report["faults"])


if __name__ == "__main__":
    sys.exit(main())
