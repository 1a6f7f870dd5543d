"""Speed of preprocessing, of the stream, of a training step and of networks, a file each.
`python -m benchmarks.speed` measures them."""
