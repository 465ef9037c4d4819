"""The processes of a run on several devices: one leads, the others only train along.

The leader (rank 0) is the process of the command. It alone decides which stage is trained and from
which state, holds the locks and writes the run's folder; the others wait for a stage, take their
share of its batches and wait for the next one. On one machine the leader starts them; Lightning's
own launcher would run the whole command again in each, with Hydra's folders and our locks. On several
machines torchrun starts all of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed as dist
from hydra.utils import get_class

from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.training.precision import resolve_accelerator

Options = dict[str, Any]
SPAWN = multiprocessing.get_context("spawn")  # a forked process could not use CUDA
PATIENCE = 20  # seconds for a process to end by itself, or to say why it did


def team_size(options: Options) -> int:
    """Number of processes that ``options["trainer"]`` asks for, on all machines.

    Raises:
        ConfigError: what cannot be trained on several devices, or on this machine.
    """
    trainer = options["trainer"]
    nodes, local = trainer.get("num_nodes", 1), _devices(trainer)
    if nodes * local == 1:
        return 1
    if "strategy" not in trainer:
        raise ConfigError(f"trainer.devices={trainer['devices']}: several devices need trainer=ddp")
    accelerator = resolve_accelerator(trainer["accelerator"])
    if accelerator == "gpu" and local > torch.cuda.device_count():
        raise ConfigError(
            f"trainer.devices={trainer['devices']}: this machine has {torch.cuda.device_count()} "
            "GPU(s); take as many, or trainer.accelerator=cpu"
        )
    if accelerator == "cpu" and options["model"]["norm"] == "batch":
        raise ConfigError(
            "model.norm=batch on several CPU processes: torch synchronises batch norm on GPUs alone; "
            "use model.norm=group, or trainer=cpu"
        )
    balance = get_class(options["balance"]["_target_"])
    if not balance.several_devices:
        raise ConfigError(
            f"balance={balance.__name__.lower()} takes the backward pass from the code that averages gradients over "
            "devices: use trainer.devices=1, or another balance"
        )
    if dist.is_torchelastic_launched() and nodes * local != int(os.environ["WORLD_SIZE"]):
        raise ConfigError(
            f"torchrun has started {os.environ['WORLD_SIZE']} processes, and trainer.num_nodes={nodes} "
            f"x trainer.devices={local} asks for {nodes * local}: make them equal"
        )
    if nodes > 1 and not dist.is_torchelastic_launched():
        raise ConfigError(
            f"trainer.num_nodes={nodes}: several machines are started with torchrun, see "
            "docs/training.md"
        )
    return nodes * local


def _devices(trainer: dict[str, Any]) -> int:
    devices = trainer["devices"]
    if isinstance(devices, list) and devices:
        return len(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    if "strategy" not in trainer:
        return 1  # Lightning judges it
    raise ConfigError(
        f"trainer.devices={devices} must be a number of processes, or a list of GPUs such as [0,2]"
    )


def is_follower() -> bool:
    """Whether torchrun has started this process to train along with another one."""
    return dist.is_torchelastic_launched() and int(os.environ["RANK"]) > 0


@contextmanager
def team(options: Options, work: Callable[..., Any]) -> Iterator[None]:
    """The other processes of a run, as long as it trains; nothing where there is one device.

    Each calls ``work(*job)`` for every job of :func:`share`.

    Raises:
        ConfigError: see :func:`team_size`; and whatever error of ours ended another process.
    """
    size = team_size(options)
    if size == 1:
        yield
        return
    if dist.is_torchelastic_launched():
        with _member(options, "env://", 0, size):
            yield
            share(None)
        return
    address = f"tcp://127.0.0.1:{_free_port()}"
    pipes, processes = _start(options, work, address, size)
    os.environ["LOCAL_RANK"] = "0"  # by this Lightning knows that the others are there
    try:
        with _member(options, address, 0, size):
            yield
            share(None)
        wait([process.sentinel for process in processes], PATIENCE)
    except Exception as error:
        reason = _reason(pipes)
        if reason is not None:
            raise reason from error
        raise
    finally:
        del os.environ["LOCAL_RANK"]
        _end(processes)


def follow(options: Options, work: Callable[..., Any]) -> None:
    """Train along with the leader that torchrun has started elsewhere, until it is done."""
    logging.getLogger("brainmtl").setLevel(logging.WARNING)  # the leader says the same
    size = team_size(options)
    with _member(options, "env://", int(os.environ["RANK"]), size):
        _take_jobs(work)


def share(job: tuple[Any, ...] | None) -> None:
    """Give a job to all other processes, if there are any; None sends them home."""
    if dist.is_initialized():
        dist.broadcast_object_list([job], src=0, device=torch.device("cpu"))


def all_agree(fine: bool) -> bool:
    """Whether ``fine`` holds in all processes, so that they stop together."""
    if not dist.is_initialized():
        return fine
    votes = torch.tensor(int(fine))  # on the CPU, also between GPUs
    dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    return bool(votes)


@contextmanager
def _member(options: Options, address: str, rank: int, size: int) -> Iterator[None]:
    """This process as ``rank`` of ``size``, with its share of the cores."""
    gpu = resolve_accelerator(options["trainer"]["accelerator"]) == "gpu"
    threads = torch.get_num_threads()
    if not gpu:
        torch.set_num_threads(max(1, threads // _devices(options["trainer"])))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo", init_method=address, rank=rank, world_size=size
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)


def _take_jobs(work: Callable[..., Any]) -> None:
    while True:
        box: list[Any] = [None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        if box[0] is None:
            return
        work(*box[0])


def _start(
    options: Options, work: Callable[..., Any], address: str, size: int
) -> tuple[list[Connection], list[BaseProcess]]:
    pipes, processes = [], []
    for rank in range(1, size):
        pipe, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_train_along, args=(options, work, address, rank, theirs))
        process.start()
        theirs.close()
        pipes.append(pipe)
        processes.append(process)
    return pipes, processes


def _train_along(
    options: Options, work: Callable[..., Any], address: str, rank: int, report: Connection
) -> None:
    """Life of a process that the leader has started."""
    threading.Thread(target=_end_with_leader, daemon=True).start()
    os.environ["LOCAL_RANK"] = str(rank)
    try:
        with _member(options, address, rank, _devices(options["trainer"])):
            _take_jobs(work)
    except BrainMTLError as error:
        report.send(error)
        raise SystemExit(1) from error


def _end_with_leader() -> None:
    """A leader that is killed can tell nobody, and a process on a GPU would wait for it for long."""
    leader = multiprocessing.parent_process()
    assert leader is not None
    wait([leader.sentinel])
    os._exit(1)


def _reason(pipes: Sequence[Connection]) -> BrainMTLError | None:
    """The error of ours that ended one of the processes; None where none has said so."""
    for pipe in wait(pipes, 1):
        try:
            return pipe.recv()  # type: ignore[union-attr]
        except EOFError:
            continue
    return None


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.join(0.1)
        if process.is_alive():
            process.terminate()
            process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
