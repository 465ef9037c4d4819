"""The HTTP service: ``uvicorn brainmtl.serve.app:app``; see docs/serving.md."""
