"""The damped multi-dimension exponential moving average (Mega, section 3.1), in float32 or float64.

Its equation is step.py. Inside a block of inputs the EMA is one Toeplitz product per channel (block.py), and
a short sequence is one block. A long one is a scan over blocks, between which only the (D, N) states travel
(scan.py). No tensor of size D x N x L is built.
"""
