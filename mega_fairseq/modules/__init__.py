"""Neural network modules of Mega: pure PyTorch."""
