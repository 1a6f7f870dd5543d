"""Recorded motion → motion of the stand-in hand."""
