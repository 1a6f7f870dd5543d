"""Figures of evaluations: frames scored beside the truth, windows chosen by rule, hands and curves
drawn in one style. `python -m benchmarks.figures` writes them; the report takes them from here."""
