"""From a checkpoint to a folder that can be served, in ONNX and int8 too."""
