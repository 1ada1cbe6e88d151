#!/bin/bash
# One training in two processes on this machine, or on several, with the same command on each:
#   ./torchrun.sh recipe.yml
#   NODES=2 NODE=0 HEAD=host0 ./torchrun.sh recipe.yml      # on host0; on the other NODE=1
exec python -m torch.distributed.run --nproc_per_node "${PROCESSES:-2}" --nnodes "${NODES:-1}" --node_rank "${NODE:-0}" \
    --master_addr "${HEAD:-127.0.0.1}" --master_port "${PORT:-29500}" \
    -m srkd train -opt "$1" --auto_resume
