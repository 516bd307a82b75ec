#!/usr/bin/env bash
# WMT'16 English-German with the paper's recipe: 8 x 8,192 tokens an update, whatever the number of GPUs.
#   train.sh DATA SAVE_DIR [options of fairseq-train, which win]
# ARCH=mega_nmt_wmt_en_de_big trains the big model. GPUS=8 train.sh ... starts torchrun on this machine;
# slurm.sh starts it on several.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${1:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
save=${2:?usage: train.sh DATA SAVE_DIR [options of fairseq-train]}
shift 2
arch=${ARCH:-mega_nmt_wmt_en_de}
case $arch in
    *_big) dropout=0.3 ;;
    *) dropout=0.15 ;;
esac

exec examples/common/launch.sh 8 "$data" --user-dir mega_fairseq --save-dir "$save" \
    --task translation --arch "$arch" --share-all-embeddings \
    --criterion mega_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-8 --clip-norm 1.0 --weight-decay 0.05 \
    --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 4000 \
    --total-num-update 500000 --max-update 500000 \
    --dropout "$dropout" --max-tokens 8192 \
    --keep-last-epochs 5 --seed 1 --log-format simple --log-interval 100 "$@"
