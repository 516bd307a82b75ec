"""Tensors in, tensors out: the equations of Mega without parameters."""
