"""Shards → batches: the contract, the index, windows, their order, the stream."""
