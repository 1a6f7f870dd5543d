"""The report: one HTML page of data, trainings, tables and figures, and what is missing of them.
`python -m benchmarks.report` writes it; figures come from `benchmarks.figures`."""
