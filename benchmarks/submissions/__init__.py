"""Files of predictions that other programs exchange: formats, order of frames, conventions.
`python -m benchmarks.evaluate` reads and writes them."""
