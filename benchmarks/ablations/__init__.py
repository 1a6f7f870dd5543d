"""All runs of the tables: their list, in stages where one needs another, and how they share the
machine. `python -m benchmarks.ablations` trains and evaluates them."""
