"""What is kept of measurements in the repository: a page, tables and figures, all of them small.
`python -m benchmarks.keep` writes them."""
