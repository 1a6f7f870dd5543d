"""Checkpoints and other people's files → predictions, scores, tables, figures, the report."""
