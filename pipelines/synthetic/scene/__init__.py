"""Scenes: tables and varied scenes, hands and objects that move, cameras."""
