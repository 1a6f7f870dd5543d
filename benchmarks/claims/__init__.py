"""What the paper claims, judged on pairs of runs: the claims, the statistics, and how it is told.
`python -m benchmarks.claims` writes them; figures, report and what is kept take them from here."""
