"""Tables 1-6 of the paper, published and measured: their layout, their rows, how they are written.
`python -m benchmarks.tables` writes them; report and what is kept take them from here."""
