"""A running program: console, worker processes, locks, signals."""
