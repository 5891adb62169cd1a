"""Starting processes that train one model together, and joining them (``system.ranks``).

They are started by ``train --devices N`` (through torch's own launcher), by torchrun, or by srun. A
process knows its rank from the environment variables of torchrun; those of srun are translated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from phoneme_moe.errors import ArgumentError, InputError, OtherProcessError
from phoneme_moe.system.cores import usable_cores

LAUNCHED = "PHONEME_MOE_LAUNCHED"
"""Environment variable of processes that ``start_ranks`` started: the process that did, and that
reports for them."""

LONGEST_WAIT = timedelta(days=1)
"""How long one process may work alone (calibration, EM) while the others wait for it."""

PORT = 29_400
"""Port of the first node, unless ``MASTER_PORT`` says another."""


def is_one_of_several() -> bool:
    """Whether this process was started as one of several that train together."""
    return int(_rank_variables(os.environ).get("WORLD_SIZE", "1")) > 1


def reports_interruptions() -> bool:
    """Whether this process says that it was interrupted: of several only one does."""
    if LAUNCHED in os.environ:
        return os.environ[LAUNCHED] == str(os.getpid())
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Joins the processes that train together; does nothing in a process that is alone.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        OtherProcessError: Another process has failed or ended, and it, or what started it, has
            reported that.
    """
    if not is_one_of_several():
        yield
        return
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    os.environ.update(_rank_variables(os.environ))
    uses_cuda = device != "cpu" and torch.cuda.is_available()
    if uses_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, num_ranks = next(rendezvous("env://", timeout=LONGEST_WAIT))
    failures = PrefixStore("failures", store)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if uses_cuda else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=num_ranks,
        timeout=LONGEST_WAIT,
    )
    try:
        yield
    except OtherProcessError:
        raise
    except Exception as error:
        if _has_lost_another(error):
            raise OtherProcessError("another process of the training has ended") from error
        # The same input fails in all processes: the first to notice reports.
        if failures.add("number", 1) > 1:
            raise OtherProcessError("another process of the training failed too") from error
        raise
    finally:
        distributed.destroy_process_group()


def start_ranks(arguments: Sequence[str], devices: int, nodes: int) -> None:
    """Starts processes of this program on this machine, and waits until all have ended.

    Args:
        arguments: The command line of each process.
        devices: Number of processes on every machine.
        nodes: Number of machines; on each, this is called with ``MASTER_ADDR`` (the first one) and
            ``NODE_RANK`` in the environment.

    Raises:
        ArgumentError: Those variables are missing.
        OtherProcessError: A process failed and has reported why.
        KilledError: A process was ended by a signal, from outside or for lack of memory.
        StoppedBySignalError: This process got a signal; the others have ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    address, node = _first_node(nodes)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id="phoneme_moe",
        rdzv_backend="static" if nodes > 1 else "c10d",
        rdzv_endpoint=address,
        rdzv_configs={"rank": node} if nodes > 1 else {},
        max_restarts=0,
        local_addr=None if nodes > 1 else "localhost",
    )
    os.environ[LAUNCHED] = str(os.getpid())
    # Together they use the cores that this process may use.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores().number // devices)))
    try:
        elastic_launch(config, sys.executable)("-m", "phoneme_moe", *arguments)
    except SignalException as interruption:
        raise StoppedBySignalError(interruption.sigval) from interruption
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            raise OtherProcessError("a process of the training failed") from failed
        name = signal.Signals(-failure.exitcode).name
        raise KilledError(
            f"process {rank + 1} of {devices * nodes} was ended by {name}, so all ended"
        ) from failed


class KilledError(Exception):
    """A process that was started has been ended by a signal; the others have ended, too."""


class StoppedBySignalError(Exception):
    """The processes that were started have been ended, since this one got a signal.

    Attributes:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = int(number)


def check_number_of_ranks(devices: int | None, nodes: int | None) -> None:
    """Compares what was requested with the processes that torchrun or srun has started.

    Raises:
        ArgumentError: They differ.
    """
    if devices is None and nodes is None:
        return
    started = int(_rank_variables(os.environ)["WORLD_SIZE"])
    if (devices or 1) * (nodes or 1) != started:
        raise ArgumentError(
            "devices",
            f"found {devices or 1} on {nodes or 1} nodes, but torchrun or srun has started "
            f"{started} processes; leave devices and nodes to it",
        )


def _rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of torchrun that say which of several processes this is; none if alone."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if all(name in environment for name in names):
        return {name: environment[name] for name in names}
    # Of srun's own step: the script of a job has SLURM_NTASKS too, but is one process.
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "SLURM_STEP_ID" not in environment or tasks == "1":
        return {}
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    number_of_nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    nodes = environment.get("SLURM_STEP_NODELIST", "127.0.0.1")
    # Steps of one job at the same time need different ports.
    port = PORT + int(environment["SLURM_JOB_ID"]) % 10_000 + int(environment["SLURM_STEP_ID"])
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(int(tasks) // number_of_nodes),
        "MASTER_ADDR": environment.get("MASTER_ADDR")
        or SLURMEnvironment.resolve_root_node_address(nodes),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(port),
        "GROUP_RANK": environment.get("SLURM_NODEID", "0"),
    }


def _first_node(nodes: int) -> tuple[str, int]:
    """Address of the first machine and number of this one.

    Raises:
        ArgumentError: There are several machines and the environment does not say it.
    """
    if nodes == 1:
        return "localhost:0", 0
    address, number = os.environ.get("MASTER_ADDR"), os.environ.get("NODE_RANK", "")
    if not address or not number.isdecimal() or int(number) >= nodes:
        raise ArgumentError(
            "nodes",
            f"found {nodes}, which need MASTER_ADDR (of the first one) and NODE_RANK (0 to "
            f"{nodes - 1}) in the environment of each; or start with torchrun or srun",
        )
    return f"{address}:{os.environ.get('MASTER_PORT', PORT)}", int(number)


def _has_lost_another(error: BaseException) -> bool:
    """Whether an exception says that another process does not answer."""
    from torch import distributed

    if isinstance(error, InputError | OSError):
        return False
    text = str(error)
    return isinstance(error, distributed.DistError) or any(
        part in text for part in ("gloo", "Connection closed by peer", "Connection reset by peer")
    )
