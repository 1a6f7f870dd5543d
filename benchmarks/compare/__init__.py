"""Runs compared: which may be, and by how much one errs less."""
