"""What is seen of a training while it runs: scores, learning rates, gradients, pictures, progress."""
