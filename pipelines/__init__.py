"""Raw datasets to verified shards."""
