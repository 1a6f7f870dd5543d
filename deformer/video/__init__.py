"""Hands in a video."""
