"""Random changes of training samples: geometry, intensities, skulls, tumours of other contrast."""
