"""Tables 1-6 of the paper, published and measured: layout, rows, and output formats.
`python -m benchmarks.tables` writes them; the report uses them too."""
