"""Raw folders in, a prepared folder out: cases, copies, splits, manifest, and its verification."""
