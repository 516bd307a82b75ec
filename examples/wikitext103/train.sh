#!/usr/bin/env bash
# WikiText-103 with the paper's recipe: 24 x 6,144 tokens an update, whatever the number of GPUs.
#   train.sh DATA SAVE_DIR [options of fairseq-train, which win]
# GPUS=8 train.sh ... starts torchrun on this machine; slurm.sh starts it on several.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${1:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
save=${2:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
shift 2

exec examples/common/launch.sh 24 "$data" --user-dir mega_fairseq --save-dir "$save" \
    --task mega_language_modeling --arch mega_lm_wikitext103 \
    --normalize-before --no-affine-final-norm --rel-pos-bias rotary \
    --decoder-chunk-size 1024 --chunk-multiples 2,6 --valid-blocks 10 \
    --criterion adaptive_loss --ddp-backend legacy_ddp \
    --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-8 --clip-norm 0.25 --weight-decay 0.1 \
    --lr 5e-3 --lr-scheduler polynomial_decay --warmup-updates 24000 \
    --total-num-update 400000 --max-update 400000 \
    --dropout 0.3 --max-tokens 6144 \
    --keep-last-epochs 5 --seed 1 --log-format simple --log-interval 100 "$@"
