"""What the installed commands run: arguments and printing, nothing else."""
