#!/usr/bin/env bash
# Bits per character (byte) of the test split in 10 blocks with chunks of 4,096, and what it depends on.
#   evaluate.sh DATA CHECKPOINT TEXT [options of scripts/perplexity.py, which win]
set -euo pipefail
cd "$(dirname "$0")/../.."
usage='usage: evaluate.sh DATA CHECKPOINT TEXT [options of scripts/perplexity.py]'
data=${1:?$usage} checkpoint=${2:?$usage} text=${3:?$usage}
shift 3
exec "${PYTHON:-.venv/bin/python}" scripts/perplexity.py "$data" --path "$checkpoint" --characters "$(wc -c < "$text")" \
    --gen-subset test --task mega_language_modeling --valid-blocks 10 --batch-size 1 \
    --model-overrides "{'decoder_chunk_size': ${CHUNK:-4096}}" "$@"
