"""Checks of a user's input before fairseq takes it: the flag or file, its value and the remedy."""
