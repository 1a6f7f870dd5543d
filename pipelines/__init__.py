"""Raw datasets, recorded or synthesized → verified shards."""
