"""What the plugin changes of fairseq and of the process, put in place by install.py.

`repairs/` mends faults of fairseq, `checks/` tells what a user gave that cannot be used, safety.py keeps
files from doing harm, `process/` sets what the libraries read. Each change is a function that names the
upstream file and the fault, and changes nothing where a fairseq does not have it. The original stays within
reach as `replaced.mega_original`. docs/repairs.md lists them (listing.py); MEGA_REPAIRS_OFF switches them off
by name.
"""
