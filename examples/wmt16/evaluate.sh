#!/usr/bin/env bash
# Average the last 5 checkpoints, translate the test sets with beam 5 and length penalty 0.5, and score.
#   evaluate.sh DATA SAVE_DIR [options of fairseq-generate, which win]
# SPLITS="test test1 test2": newstest2014, 2015, 2016. CHECKPOINTS=5: of the last epochs (KIND=epoch) or of
# --save-interval-updates (KIND=update).
set -euo pipefail
cd "$(dirname "$0")/../.."
usage='usage: evaluate.sh DATA SAVE_DIR [options of fairseq-generate]'
data=${1:?$usage} save=${2:?$usage}
shift 2
python=${PYTHON:-.venv/bin/python}

files=("$data"/test.*-*.*.idx) # test.en-de.en.idx
direction=${files[0]##*/test.}
direction=${direction%%.*}
if [ -e "$data/spm.model" ]; then kind=sentencepiece; else kind=subword-nmt; fi
if [ ! -e "${files[0]}" ] || [ ! -e "$data/reference.test" ]; then
    echo "evaluate.sh: $data is no folder that prepare.py made (data-bin/en-de.sentencepiece-32000)" >&2
    exit 1
fi

"$python" scripts/average_checkpoints.py --inputs "$save" --output "$save/average.pt" \
    "--num-${KIND:-epoch}-checkpoints" "${CHECKPOINTS:-5}"
for split in ${SPLITS:-test test1 test2}; do
    output=$save/generate-$split.txt
    "$python" -m fairseq_cli.generate "$data" --user-dir mega_fairseq --path "$save/average.pt" \
        --source-lang "${direction%-*}" --target-lang "${direction#*-}" --gen-subset "$split" \
        --beam 5 --lenpen 0.5 --max-tokens 8192 "$@" >"$output"
    echo
    echo "$split ($output)"
    "$python" scripts/score.py --hypotheses "$output" --references "$data/reference.$split" \
        --detokenize "$kind" --target-lang "${direction#*-}" --compound-split
done
