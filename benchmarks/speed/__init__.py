"""Speed of preprocessing, of the stream, of a training step, of its parts, and of networks, a file
each. `python -m benchmarks.speed` measures them."""
