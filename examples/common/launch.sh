#!/usr/bin/env bash
# fairseq-train on one process or, with GPUS (a machine) and NODES (machines) above 1, on torchrun's.
#   launch.sh PROCESSES arguments of fairseq-train: an update sees what so many processes read at once
set -euo pipefail
wanted=$1
shift
gpus=${GPUS:-1} nodes=${NODES:-1} python=${PYTHON:-.venv/bin/python}
processes=$((gpus * nodes))
update_freq=$((wanted / processes))
[ "$update_freq" -ge 1 ] || update_freq=1
if [ "$((update_freq * processes))" -ne "$wanted" ]; then
    echo "launch.sh: an update sees $((update_freq * processes)) batches on $processes processes, not the recipe's" \
        "$wanted: use a number that divides $wanted, or adjust --lr" >&2
fi
launch=("$python")
if [ "$processes" -gt 1 ]; then
    launch+=(-m torch.distributed.run --nproc_per_node "$gpus" --nnodes "$nodes"
        --rdzv_backend c10d --rdzv_endpoint "${RENDEZVOUS:-localhost:29500}")
fi
exec "${launch[@]}" -m fairseq_cli.train --update-freq "$update_freq" "$@"
