"""Checks of a built dataset, and other views of it."""
