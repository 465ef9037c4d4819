"""The three training stages: losses, optimisers, the LightningModule, the curriculum."""
