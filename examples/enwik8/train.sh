#!/usr/bin/env bash
# enwik8 with the paper's recipe: 8 x 8,192 bytes an update, whatever the number of GPUs.
#   train.sh DATA SAVE_DIR [options of fairseq-train, which win]
# GPUS=8 train.sh ... starts torchrun on this machine; slurm.sh starts it on several.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${1:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
save=${2:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
shift 2

exec examples/common/launch.sh 8 "$data" --user-dir mega_fairseq --save-dir "$save" \
    --task mega_language_modeling --arch mega_lm_enwik8 --share-decoder-input-output-embed \
    --normalize-before --no-affine-final-norm --rel-pos-bias rotary \
    --decoder-chunk-size 2048 --chunk-multiples 2,4 --valid-blocks 100 \
    --criterion mega_cross_entropy --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-8 --clip-norm 0.25 --weight-decay 0.1 \
    --lr 5e-3 --lr-scheduler polynomial_decay --warmup-updates 24000 \
    --total-num-update 400000 --max-update 400000 \
    --max-tokens 8192 \
    --keep-last-epochs 5 --seed 1 --log-format simple --log-interval 100 "$@"
