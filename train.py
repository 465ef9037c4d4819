"""``python train.py [data_dir=...] [stage=...] [overrides]``: train the stages, return the monitor."""

from __future__ import annotations

import signal
import sys

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.errors import BrainMTLError
from brainmtl.sweeps.extras import require_extras
from brainmtl.sweeps.failures import keep_going
from brainmtl.training.continuation.rerun import expand


@entry("train")
@keep_going
def main(cfg: DictConfig) -> float | None:
    """Train; returns the best value of the last stage's monitor, for a sweeper to optimise."""
    from brainmtl.training.continuation.command_line import word
    from brainmtl.training.curriculum import train

    options = plain(cfg)
    try:
        results = train(options)
    except (KeyboardInterrupt, SystemExit) as error:
        sent = _signal_behind(error)
        if sent is None:
            raise
        # Lightning would end with status 0 or 1, and a script could go on with half a training.
        print(f"ended by {sent.name}: the same command with resume=true goes on", file=sys.stderr)
        sys.exit(128 + sent)
    if not results:  # torchrun has started this process to train along with another one
        return None
    for result in results:
        origin = f" (reused from {result.reused_from})" if result.reused_from else ""
        print(
            f"{result.name}: best {result.monitor} {result.score:.4f} in {result.seconds:.0f} s{origin}"
        )
    print(f"best checkpoint: {results[-1].best}")
    words = [word("ckpt", results[-1].best), word("data_dir", options["data_dir"])]
    print(f"next: python evaluate.py {' '.join(words)}")
    return results[-1].score


def _signal_behind(error: BaseException) -> signal.Signals | None:
    """The signal that ended a training: Lightning makes exceptions of its own of both."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    if isinstance(error, SIGTERMException):
        return signal.SIGTERM
    pressed = isinstance(error, KeyboardInterrupt) or isinstance(
        error.__context__, KeyboardInterrupt
    )
    return signal.SIGINT if pressed else None


if __name__ == "__main__":
    require_extras(sys.argv[1:])
    try:
        sys.argv[1:] = expand(sys.argv[1:])
    except BrainMTLError as error:
        sys.exit(f"error: {error}")
    main()
