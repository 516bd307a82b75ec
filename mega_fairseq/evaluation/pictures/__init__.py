"""Pictures: what is read out of logs and checkpoints, and how it is drawn. Only here is matplotlib needed."""

import logging

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq's imports let everything through
