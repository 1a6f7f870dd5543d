"""The speed of every part of the work, a file each; `parts.py` lists them.
`python -m benchmarks.speed` measures them."""
