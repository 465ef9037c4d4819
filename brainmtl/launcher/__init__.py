"""Service and page as one thing to start and to end: what ``python -m brainmtl.demo`` is made of."""
