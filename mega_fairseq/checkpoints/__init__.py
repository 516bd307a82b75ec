"""Checkpoint files: safe reading, whole writing, names and conversion of the reference, averages."""
