"""Predictions and truth → one result, and what is known of a run."""
