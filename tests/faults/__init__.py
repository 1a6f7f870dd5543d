"""Faults injected for real: processes killed, files damaged, disks filled, servers that fail.

The fast suite injects a few of each kind, `make soak` hundreds, by seed. docs/GUARANTEES.md says
what is promised and which test holds it.
"""
