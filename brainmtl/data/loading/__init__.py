"""From a prepared folder to batches: datasets, which samples an epoch draws, the LightningDataModule."""
