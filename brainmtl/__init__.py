"""brainmtl: one shared U-Net encoder, a segmentation decoder and a classification head."""

__version__ = "0.1.0"
