"""All runs of Tables 4-6: their list, and how they share the machine.
`python -m benchmarks.ablations` trains and evaluates them."""
