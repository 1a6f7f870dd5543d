"""The compact core: hand geometry, the sample contract, the model and its training."""
