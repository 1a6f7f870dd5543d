"""Training: what a run is, its steps, checkpoints and validation."""
