"""Colours, textures and light: what scenes are painted with."""
