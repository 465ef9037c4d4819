"""Synthetic FLAIR-like heads with glioma-like lesions and exact masks, written as raw data.

Whatever comes from here is synthetic and has to be called so wherever it is shown.
"""

from brainmtl.data.phantom.writer import GENERATOR_VERSION, PhantomConfig, write_phantom

__all__ = ["GENERATOR_VERSION", "PhantomConfig", "write_phantom"]
