"""Predictions as others exchange them: the files, the order of their frames, their conventions.
`python -m benchmarks.evaluate` reads and writes them."""
