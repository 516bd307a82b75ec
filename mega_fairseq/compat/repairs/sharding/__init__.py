"""`--ddp-backend fully_sharded` by torch's FSDP2: where fairseq asks fairscale (wrapping), and the model."""
