"""`hub.py MegaNMT|MegaLM CHECKPOINT DATA`: what the hub makes of a sentence."""

import sys
from pathlib import Path

from mega_fairseq import models

if __name__ == "__main__":
    family, path, data = sys.argv[1:]
    try:
        hub = getattr(models, family).from_pretrained(str(Path(path).parent), Path(path).name, data)
        print(hub.sample(["red dog"], beam=1))
    except (RuntimeError, OSError) as error:
        sys.exit(f"hub.py: {error}")
