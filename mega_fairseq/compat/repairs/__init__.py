"""Repairs of fairseq's faults, by the part of fairseq that has them."""
