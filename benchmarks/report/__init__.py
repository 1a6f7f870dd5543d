"""The report: one HTML page with data, trainings, tables and figures, and what is missing.
`python -m benchmarks.report` writes it; figures come from `benchmarks.figures`."""
