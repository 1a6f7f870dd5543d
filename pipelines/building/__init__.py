"""Raw frames → shards."""
