"""A running program: its console, its worker processes, its end."""
