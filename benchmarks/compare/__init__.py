"""Comparisons of runs: which runs may be compared, and by how much one errs less."""
