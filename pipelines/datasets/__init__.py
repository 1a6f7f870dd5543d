"""The raw datasets: a reader each, and what they deliver."""
