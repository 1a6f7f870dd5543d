"""Hands from a video."""
