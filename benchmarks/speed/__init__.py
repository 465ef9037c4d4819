"""The rows of ``python -m benchmarks.run``, one module per section."""
