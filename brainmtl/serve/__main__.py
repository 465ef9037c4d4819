"""``python -m brainmtl.serve``: uvicorn with this service, without its Server header."""

from __future__ import annotations

import argparse
import sys

from brainmtl.errors import BrainMTLError, ConfigError


def main() -> None:
    """Command-line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m brainmtl.serve",
        description="Serve an exported model over HTTP. Settings come from the environment: "
        "BRAINMTL_MODEL_DIR, BRAINMTL_API_KEY and others, see docs/serving.md.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="default: 8000; 0 chooses a free one"
    )
    options = parser.parse_args()
    if not 0 <= options.port <= 65535:
        parser.error(f"--port {options.port} must lie in 0..65535")
    try:
        serve(options.host, options.port)
    except BrainMTLError as error:
        sys.exit(f"error: {error}")


def serve(host: str, port: int) -> None:
    """Run until SIGINT or SIGTERM; what is being computed then is finished.

    Raises:
        ConfigError: the extra `serve` is not installed, or a setting cannot work.
    """
    try:
        import uvicorn

        from brainmtl.serve.app import app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'brainmtl[serve]' (or `make setup`)"
        ) from error
    uvicorn.run(app, host=host, port=port, server_header=False)


if __name__ == "__main__":
    main()
