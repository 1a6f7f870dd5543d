"""How fast preprocessing, the stream and a training step are, a file each.
`python -m benchmarks.speed` measures them."""
