"""The one LightningModule, strategies, losses and ω control."""
