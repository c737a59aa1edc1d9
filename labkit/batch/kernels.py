"""Kernels of the batch runner: private sockets, and a warm start where that is possible.

`WarmProvisioner` is a Jupyter kernel provisioner (entry point ``labkit-warm``). It forks the kernel
from a process that has the notebook's imports loaded already (`labkit.batch.pool`), which costs
0.2 CPU seconds where a cold start with torch, PyTorch Geometric and RDKit costs 6 to 8. Where that
cannot be done faithfully it starts the kernel cold, like its base class.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import List, Unicode

from labkit.batch.imports import imports_of
from labkit.batch.pool import (
    WarmPool,
    kernel_environment,
    private_folder,
    start_warm_pool,
    warm_pool,
)

__all__ = ["PrivateKernelManager", "WarmPool", "WarmProvisioner", "imports_of", "start_warm_pool"]

log = logging.getLogger(__name__)

_HARMLESS_FLAGS = {"-Xfrozen_modules=off"}
_PACKER = ("--Session.packer=labkit.batch.packing.pack",)
_POLL_S = 0.005
_CHANNELS = 5
_IOPUB_S = 0.2
_REPLY_S = 1.0


class WarmProvisioner(LocalProvisioner):
    """Starts a kernel by forking a process with the notebook's imports loaded.

    Attributes
    ----------
    imports
        Modules that should be loaded; those of the running pool will do where this is empty.
    warm
        Whether the kernel that runs was forked; False after a cold start.
    """

    imports = List(Unicode(), config=True)
    warm = False
    process: Any = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel warm, or cold where a warm one would differ from it."""
        pool = self._pool(cmd, kwargs)
        if pool is not None:
            try:
                self._launch_warm(pool, cmd, kwargs)
            except (OSError, EOFError, RuntimeError) as error:
                log.warning("could not fork a warm kernel (%s); starting a cold one", error)
            else:
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)

    def _pool(self, cmd: list[str], options: dict[str, Any]) -> WarmPool | None:
        """Return a pool that can start this command, None where only a cold start will do."""
        if not _is_our_ipykernel(cmd) or set(options) - {"cwd", "env", "stdout", "stderr"}:
            return None
        pool = warm_pool(self.imports, options.get("env") or dict(os.environ))
        if pool is not None and pool.shadows(Path(options.get("cwd") or ".")):
            log.warning("a module in %s shadows an installed one: cold start", options.get("cwd"))
            return None
        return pool

    def _launch_warm(self, pool: WarmPool, cmd: list[str], options: dict[str, Any]) -> None:
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        environment = dict(options.get("env") or os.environ)
        environment["JPY_PARENT_PID"] = str(os.getpid())
        self.process = pool.launch(
            arguments,
            cwd=str(options.get("cwd") or Path.cwd()),
            env=environment,
            stdout=options.get("stdout"),
            stderr=options.get("stderr"),
        )
        self.pid = self.pgid = self.process.pid
        self.cwd = options.get("cwd", Path.cwd())
        self.warm = True


class PromptKernelClient(AsyncKernelClient):
    """Talks to one kernel, and knows that it is ready as soon as it is.

    Jupyter's own client listens for a further 0.2 s after the kernel has answered, to drop stray
    messages. Those are recognized by the request that they answer, so nothing need be dropped.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Return when the kernel answers requests and its output channel is connected.

        Raises
        ------
        RuntimeError
            When the kernel died, or `timeout` (seconds) passed.
        """
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        manager: Any = self.parent
        while True:
            request = self.kernel_info()
            try:
                reply = await self.shell_channel.get_msg(timeout=_REPLY_S)
            except Empty:
                reply = None
            if reply is not None and await self._hears(request):
                self._handle_kernel_info_reply(reply)
                return
            if not await manager.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > until:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")

    async def _hears(self, request: str) -> bool:
        """Tell whether the kernel's messages arrive; those about `request` tell at once."""
        heard = False
        while True:
            try:
                message = await self.iopub_channel.get_msg(timeout=_IOPUB_S)
            except Empty:
                return heard
            heard = True
            state = message["content"].get("execution_state")
            if message["parent_header"].get("msg_id") == request and state == "idle":
                return True


class PrivateKernelManager(AsyncKernelManager):
    """Manages one kernel whose sockets lie in a folder that only this user can open.

    Jupyter's default, TCP, lets every user of the machine attach to a kernel; its default path for
    sockets lies in the working directory. A kernel that is not ipykernel keeps Jupyter's defaults.

    Parameters
    ----------
    kernel_name
        Name of the Jupyter kernel.
    imports
        Modules that a warm kernel should have loaded; None for a cold kernel.
    """

    def __init__(self, *, imports: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(client_factory=PromptKernelClient, **kwargs)
        self._imports = imports
        self._folder: Path | None = None

    async def wait_for_sockets(self, timeout: float) -> None:
        """Return when the kernel has bound its private sockets, has ended, or time is up.

        A client that connects earlier tries again only after ZeroMQ's 0.1 s.
        """
        until = time.monotonic() + timeout
        while self._folder is not None and time.monotonic() < until and await self.is_alive():
            if sum(path.is_socket() for path in self._folder.iterdir()) >= _CHANNELS:
                return
            await asyncio.sleep(_POLL_S)

    async def _async_finish_shutdown(
        self, waittime: float | None = None, pollinterval: float = _POLL_S, restart: bool = False
    ) -> None:
        await super()._async_finish_shutdown(waittime, pollinterval, restart)

    async def _async_pre_start_kernel(self, **kw: Any) -> tuple[list[str], dict[str, Any]]:
        spec = self.kernel_spec
        assert spec is not None
        if "ipykernel_launcher" in spec.argv and self._folder is None:
            self._use_private_sockets()
        kw["env"] = kernel_environment(kw.get("env"))
        if self._imports is not None and "kernel_provisioner" not in spec.metadata:
            self.kernel_id = self.kernel_id or str(uuid.uuid4())
            self.provisioner = WarmProvisioner(
                kernel_id=self.kernel_id,
                kernel_spec=spec,
                parent=self,
                imports=list(self._imports),
            )
        command, options = await super()._async_pre_start_kernel(**kw)
        return [*command, *_PACKER] if _is_our_ipykernel(command) else command, options

    def _use_private_sockets(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=private_folder()))
        self.transport = "ipc"
        self.ip = str(self._folder / "k")
        self.connection_file = str(self._folder / "kernel.json")

    def remove_private_folder(self) -> None:
        """Remove the sockets' folder; the kernel must have ended."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _is_our_ipykernel(cmd: Sequence[str]) -> bool:
    """Tell whether a command starts ipykernel in this very Python environment."""
    if "ipykernel_launcher" not in cmd:
        return False
    executable, *flags = cmd[: cmd.index("ipykernel_launcher")]
    same_folder = Path(executable).absolute().parent == Path(sys.executable).absolute().parent
    known = flags[-1:] == ["-m"] and set(flags[:-1]) <= _HARMLESS_FLAGS
    return same_folder and Path(executable).samefile(sys.executable) and known
