#!/usr/bin/env bash
#SBATCH --job-name=mega-wmt16 --nodes=1 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32
#   sbatch examples/wmt16/slurm.sh DATA SAVE_DIR [options of fairseq-train]
# One torchrun a node; the same command resumes a job that was cut off.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
host=$(scontrol show hostnames "${SLURM_JOB_NODELIST:?start this with sbatch}" | head -n 1)
export RENDEZVOUS=$host:29500 NODES=$SLURM_NNODES GPUS=${SLURM_GPUS_ON_NODE:-8}
srun examples/wmt16/train.sh "$@"
