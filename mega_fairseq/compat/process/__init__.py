"""Settings of the process: what torch and the C library read as they start."""
