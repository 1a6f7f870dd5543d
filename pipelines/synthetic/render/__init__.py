"""Scenes → pictures: rays, light, surfaces, lenses."""
