"""L6. Finds the container engine: DOCKER_HOST, else the current context, else the sockets of Docker and Podman."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import EngineUnreachable

if TYPE_CHECKING:
    from docker import APIClient
    from docker.tls import TLSConfig

CONNECTIONS = 32
"""Requests under way at once. Nodes are created, started and read side by side."""


def connect(timeout: int = 60) -> APIClient:
    """A client of the engine, `timeout` in seconds. Raises: EngineUnreachable, with the address that was tried."""
    import docker
    from docker.errors import DockerException

    address = find_address()
    try:
        client = docker.APIClient(
            base_url=address,
            version="auto",
            timeout=timeout,
            num_pools=CONNECTIONS,
            max_pool_size=CONNECTIONS,
            tls=_tls(),
        )
    except DockerException as error:
        raise EngineUnreachable(
            f"no container engine answers at {address}: {_reason(error)}",
            mend="start Docker (systemctl start docker), set DOCKER_HOST, or choose one with `docker context use`; "
            "`clusterkit doctor` says more",
        ) from error
    return client


def find_address() -> str:
    """DOCKER_HOST, else the current context, else the first socket that is there."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return named
    from docker.context import ContextAPI

    context = ContextAPI.get_current_context()
    if context is not None and context.name != "default" and context.Host:
        return str(context.Host)
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    for socket in ("/var/run/docker.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"):
        if Path(socket).exists():
            return f"unix://{socket}"
    return "unix:///var/run/docker.sock"


def _tls() -> TLSConfig | bool:
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return False
    from docker.tls import TLSConfig

    folder = Path(os.environ.get("DOCKER_CERT_PATH", Path.home() / ".docker"))
    return TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")), ca_cert=str(folder / "ca.pem"), verify=True
    )


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("Permission denied", "Connection refused", "No such file or directory", "timed out"):
        if known in text:
            return known.lower()
    return text.splitlines()[0][:200]
