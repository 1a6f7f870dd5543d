"""Speed of preprocessing, of the stream and of a training step, a file each.
`python -m benchmarks.speed` measures them."""
