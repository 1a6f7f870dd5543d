"""All runs of Tables 4-6: which they are, and how they share the machine.
`python -m benchmarks.ablations` trains and evaluates them."""
