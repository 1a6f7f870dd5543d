"""Figures of evaluations: curves, predicted hands, and windows chosen by a rule, in one style.
`python -m benchmarks.figures` writes them; the report uses them too."""
