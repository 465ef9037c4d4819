"""From any file's pixels to the prepared 256x256 slice: the one function for training and serving."""
