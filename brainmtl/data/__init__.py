"""From raw files to batches: adapters, the one preprocessing function, prepared folders, loaders."""
