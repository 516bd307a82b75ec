"""What the plugin changes of fairseq and of the process (install.py): repairs, checks of input, safety.

Each change names the upstream file and the fault, and changes nothing where a fairseq does not have it. The
original stays within reach as `replaced.mega_original`. docs/repairs.md lists them; MEGA_REPAIRS_OFF switches
them off by name.
"""
