"""Weights that ship, each with a card; `deformer.training.weights_file` reads and writes them."""
