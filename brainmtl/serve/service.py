"""What one server holds: its settings, the model once it is loaded, the worker, the audit log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from brainmtl.errors import BrainMTLError
from brainmtl.serve.audit import AuditLog
from brainmtl.serve.errors import ApiError
from brainmtl.serve.metrics import Metrics
from brainmtl.serve.settings import Settings
from brainmtl.serve.worker import Worker

if TYPE_CHECKING:
    from brainmtl.inference.predictor import MultiTaskPredictor

LOG = logging.getLogger("uvicorn.error")  # the logger that uvicorn prints without configuration
LOADING = "The model is being loaded and warmed up: try again in some seconds."


class Service:
    """Parts that the routes share. ``predictor`` is None until it is loaded and warmed up, and
    ``problem`` then says why."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.worker = Worker(settings.queue + 1, settings.max_batch)
        self.audit = AuditLog(settings.audit_log)
        self.metrics = Metrics(queue_length=lambda: self.worker.admitted)
        self.predictor: MultiTaskPredictor | None = None
        self.problem = LOADING
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to load the model in the worker's thread; the event loop answers meanwhile."""
        self._loading = asyncio.get_running_loop().create_task(self.worker.run(self._load))

    async def stop(self) -> None:
        """Finish what runs."""
        await self.worker.close()
        self.audit.close()

    def require_model(self) -> MultiTaskPredictor:
        """The predictor.

        Raises:
            ApiError: 503 with the reason while there is none.
        """
        if self.predictor is not None:
            return self.predictor
        if self.problem == LOADING:
            raise ApiError(503, "model_loading", LOADING, {"Retry-After": "5"})
        raise ApiError(503, "no_model", self.problem)

    def _load(self) -> None:
        try:
            predictor = self._predictor()
        except BrainMTLError as error:
            self.problem = f"{error}. Then start the server again."
            LOG.error("no model is served: %s", self.problem)
        except Exception as error:
            self.problem = f"The model could not be loaded ({type(error).__name__}): see the log."
            LOG.exception("no model is served")
        else:
            self.predictor = predictor
            info = predictor.info
            labels = (info.name, info.version, info.weights_sha256, info.preprocessing_version)
            self.metrics.model.labels(*labels, str(info.synthetic_training).lower()).set(1)
            self.metrics.ready.set(1)
            LOG.info("serving %s %s (weights %.12s) by %s", *labels[:3], info.runtime["told"])

    def _predictor(self) -> MultiTaskPredictor:
        import torch

        from brainmtl.inference.model_folder import newest_model_folder
        from brainmtl.inference.predictor import MultiTaskPredictor
        from brainmtl.serve.warmup import warm_up

        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)  # in the thread that computes
        folder = self.settings.model_dir or newest_model_folder()
        predictor = MultiTaskPredictor.from_folder(
            folder, precision=self.settings.precision, runtime=self.settings.runtime
        )
        warm_up(predictor, self.settings.max_batch)
        return predictor
