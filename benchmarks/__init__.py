"""Measurements: of speed now, of accuracy next."""
