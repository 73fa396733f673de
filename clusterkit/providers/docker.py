"""L6. Nodes are containers of a Docker engine (or of one that answers its API). Truth lives in labels.

Every container, network and volume carries `clusterkit.cluster`; nothing without that label is ever changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import ipaddress
import json
import re
import socket
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterkit.errors import ClusterkitError, EngineUnreachable, EnvironmentTrouble, NodeUnreachable, UsageError
from clusterkit.node import Ability, Command, File, Result, State
from clusterkit.providers.base import ClusterRecord, ImageRecord, LogLine, NodeRecord, Removed, Rendered
from clusterkit.providers.engine import connect

if TYPE_CHECKING:
    from docker import APIClient

CLUSTER = "clusterkit.cluster"
_STATES = {
    "created": State.CREATED,
    "running": State.RUNNING,
    "restarting": State.RUNNING,
    "paused": State.PAUSED,
}
_VOLUME_LABELS = (
    CLUSTER,
    "clusterkit.component",
    "clusterkit.node",
    "clusterkit.source",
    "clusterkit.subnet",
    "clusterkit.address",
)
_SCALE = "clusterkit.scale"
_PARTS_FILE = "/etc/clusterkit/parts.json"
"""What a node is made of since it was changed in place. Its label says what it was made of: labels cannot change."""

_PERIOD_US = 100_000
"""Of the kernel's CPU quotas."""

_HOST_PORTS = range(20000, 30000)
"""Below the range that Linux hands out for outgoing connections (32768 and up), so that they never collide."""


class DockerProvider:
    """Creates, lists and destroys nodes on one engine."""

    def __init__(self, client: APIClient | None = None) -> None:
        self.client = client or connect()

    # -- what there is -------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The engine's address, as the docker program takes it."""
        from clusterkit.providers.engine import find_address

        return find_address()

    @property
    def engine(self) -> str:
        """Names this engine among others, for locks."""
        return engine_name(self.client)

    def abilities(self) -> frozenset[Ability]:
        return frozenset({Ability.PUBLISH, Ability.PAUSE, Ability.LIMITS, Ability.BUILD})

    def clusters(self) -> tuple[ClusterRecord, ...]:
        with engine_words("list clusters"):
            containers = self.client.containers(all=True, filters={"label": CLUSTER})
            networks = self.client.networks(filters={"label": CLUSTER})
            volumes = (self.client.volumes(filters={"label": CLUSTER}) or {}).get("Volumes") or []
        found = [*containers, *networks, *volumes]
        names = sorted({item["Labels"][CLUSTER] for item in found})
        return tuple(_cluster(name, containers, networks, volumes) for name in names)

    def find(self, cluster: str) -> ClusterRecord | None:
        label = {"label": f"{CLUSTER}={cluster}"}
        with engine_words(f'look for the cluster "{cluster}"'):
            containers = self.client.containers(all=True, filters=label)
            networks = self.client.networks(filters=label)
            volumes = (self.client.volumes(filters=label) or {}).get("Volumes") or []
        if not containers and not networks and not volumes:
            return None
        return _cluster(cluster, containers, networks, volumes)

    def node(self, record: NodeRecord) -> DockerNode:
        return DockerNode(self.client, record)

    def image_of(self, record: NodeRecord) -> ImageRecord:
        """What the node was made from. Raises: NodeUnreachable where it is gone."""
        with engine_words(f"look at {record.name}"):
            inspected = self.client.inspect_container(record.runtime_id)
        return ImageRecord(inspected["Config"]["Image"], inspected["Image"])

    def logs(self, record: NodeRecord, since_ns: int = 0, follow: bool = False) -> Iterator[LogLine]:
        from clusterkit.providers import docker_logs

        return docker_logs.read(self.client, record.runtime_id, since_ns, follow)

    def events(self, cluster: str, since: float, until: float | None = None) -> Iterator[dict[str, Any]]:
        """What the engine tells of the cluster's containers, from `since` on (seconds since 1970); without `until` for
        as long as it is listened to. The engine forgets all but its last events.
        """
        with engine_words(f'listen to the events of "{cluster}"'):
            filters = {"label": f"{CLUSTER}={cluster}", "type": "container"}
            stream: Any = self.client.events(since=since, until=until, filters=filters, decode=True)  # type: ignore[call-overload]  # the stubs know whole seconds only
            yield from stream

    # -- choices made once ---------------------------------------------------------------------------------------

    def choose_subnet(self, cluster: str) -> Iterator[str]:
        """Subnets that collide with no network of the engine and no route or name server of this host, best first."""
        with engine_words("list the engine's networks"):
            networks = self.client.networks()
        taken = [
            ipaddress.ip_network(pool["Subnet"], strict=False)
            for network in networks
            for pool in (network.get("IPAM") or {}).get("Config") or []
            if pool.get("Subnet")
        ]
        taken += _routes() + _name_servers()
        candidates = list(ipaddress.IPv4Network("10.64.0.0/10").subnets(new_prefix=24))
        first = int(hashlib.sha256(cluster.encode()).hexdigest(), 16) % len(candidates)
        for candidate in candidates[first:] + candidates[:first]:
            if not any(isinstance(net, ipaddress.IPv4Network) and candidate.overlaps(net) for net in taken):
                yield str(candidate)

    def free_ports(self, cluster: str) -> Iterator[int]:
        """Host ports that no container of this engine publishes or has reserved, and nobody listens on."""
        with engine_words("list published ports"):
            containers = self.client.containers(all=True)
        taken = {port.get("PublicPort") for item in containers for port in item.get("Ports") or []}
        taken |= {
            port
            for item in containers
            for port in json.loads((item.get("Labels") or {}).get("clusterkit.host_ports", "{}")).values()
        }
        first = int(hashlib.sha256(cluster.encode()).hexdigest(), 16) % len(_HOST_PORTS)
        for port in [*_HOST_PORTS[first:], *_HOST_PORTS[:first]]:
            if port not in taken and _is_free(port):
                yield port

    # -- making --------------------------------------------------------------------------------------------------

    def create_network(self, cluster: str, source: str, kept_subnet: str = "") -> str:
        """Makes the cluster's network; gives back the subnet that the engine accepted.

        `kept_subnet` is the one that kept data refers to: then it must be that one.

        Another program may take a subnet between our look and our request: then the next one is tried.
        """
        import docker.errors

        last: Exception | None = None
        free = self.choose_subnet(cluster)
        for subnet in islice((one for one in free if one == kept_subnet) if kept_subnet else free, 20):
            pool: Any = {"Driver": "default", "Config": [{"Subnet": subnet}]}
            labels = {
                CLUSTER: cluster,
                "clusterkit.source": source,
                "clusterkit.born": str(time.time_ns()),
            }
            bridge = "ck" + hashlib.sha256(f"{cluster} {subnet}".encode()).hexdigest()[:10]
            try:
                self.client.create_network(
                    network_name(cluster),
                    driver="bridge",
                    check_duplicate=True,
                    labels=labels,
                    options={"com.docker.network.bridge.name": bridge},
                    ipam=pool,
                )
            except docker.errors.APIError as error:
                if "overlap" not in str(error).lower():
                    raise _said(error, f'make the network of "{cluster}"') from error
                last = error
                continue
            return subnet
        if kept_subnet:
            raise EnvironmentTrouble(
                f'the data kept of "{cluster}" needs its old subnet, {kept_subnet}, and that is in use now',
                mend=f"free it (docker network ls), or give the data up: clusterkit down --name {cluster}",
            ) from last
        raise EnvironmentTrouble(
            f'no subnet is free for "{cluster}"', mend="remove networks that are not needed: docker network prune"
        ) from last

    def create(self, node: Rendered, cluster: str, source: str, subnet: str, device: str = "") -> NodeRecord:
        """Makes the container and its volume and puts the files in; starts nothing.

        Seeds are put in only where no file of that name is, so that what a system wrote itself survives. `device` is
        the disk that its data lies on, "" for a plain volume.
        """
        plan = node.plan
        labels = {
            CLUSTER: cluster,
            "clusterkit.component": plan.component,
            "clusterkit.node": plan.name,
            "clusterkit.kind": plan.kind,
            "clusterkit.zone": plan.member.zone,
            "clusterkit.index": str(plan.member.index),
            "clusterkit.source": source,
            "clusterkit.subnet": subnet,
            "clusterkit.address": plan.member.address,
            "clusterkit.host_ports": json.dumps(dict(plan.member.host_ports), sort_keys=True),
            "clusterkit.parts": json.dumps(dict(node.parts), sort_keys=True),
        }
        with engine_words(f"make {plan.name}"):
            is_new = self._make_volume(node, cluster, labels, device) if plan.data else True
            container = self.client.create_container_from_config(  # type: ignore[no-untyped-call]  # the stubs lack it
                self._config(node, labels, network_name(cluster)), container_name(cluster, plan.name)
            )["Id"]
            here = DockerNode(self.client, _node_of(cluster, labels, container))
            seeds = node.seeds if is_new else tuple(seed for seed in node.seeds if not here.has(seed.path))
            if node.files or seeds:
                here.put((*node.files, *seeds), node.users)
        return here.record

    def parts_of(self, record: NodeRecord) -> Mapping[str, str]:
        """What the node is made of now. Its label may be older than its last change."""
        try:
            parts: Mapping[str, str] = json.loads(self.node(record).read(_PARTS_FILE))
        except FileNotFoundError:
            return record.parts
        return parts

    def change(self, record: NodeRecord, node: Rendered) -> None:
        """Gives a node its files and limits as they are now wanted, without a restart."""
        plan = node.plan
        parts = File(_PARTS_FILE, json.dumps(dict(node.parts), sort_keys=True).encode())
        with engine_words(f"change {record.name}"):
            if any(record.parts.get(part) != node.parts.get(part) for part in ("cpus", "memory")):
                self.client.update_container(
                    record.runtime_id,
                    cpu_period=_PERIOD_US,
                    cpu_quota=-1 if plan.cpus is None else round(plan.cpus * _PERIOD_US),
                    mem_limit=plan.memory_bytes,
                    memswap_limit=plan.memory_bytes,
                )
            self.node(record).put((*node.files, parts), node.users)

    def keep_scale(self, cluster: str, source: str, counts: Mapping[str, int]) -> None:
        """Remembers how many nodes components were given by hand, in the labels of an empty volume."""
        name = f"clusterkit-{cluster}-scale"
        with engine_words(f'remember the size of "{cluster}"'):
            with _gone_is_fine():
                self.client.remove_volume(name)
            if counts:
                labels = {CLUSTER: cluster, "clusterkit.source": source, _SCALE: json.dumps(dict(counts))}
                self.client.create_volume(name, labels=labels)

    def remove_data(self, cluster: str, node: str) -> int:
        """Removes the volumes of a node that is no more; gives back how many."""
        return self._remove_volumes(f"clusterkit.node={node}", cluster)

    def remove(self, record: NodeRecord, *, data: bool) -> int:
        """Removes a node, and its volumes if `data`; gives back how many volumes."""
        with engine_words(f"remove {record.name}"), _gone_is_fine():
            self.client.remove_container(record.runtime_id, v=True, force=True)
        return self.remove_data(record.cluster, record.name) if data else 0

    def remove_rest(self, cluster: str, *, data: bool) -> Removed:
        """Removes the network, and the volumes if `data`, when the nodes are gone; works on a half-removed cluster."""
        label = {"label": f"{CLUSTER}={cluster}"}
        with engine_words(f'remove the network of "{cluster}"'):
            networks = self.client.networks(filters=label)
            for network in networks:
                with _gone_is_fine():
                    for guest in self.client.inspect_network(network["Id"]).get("Containers") or {}:
                        self.client.disconnect_container_from_network(guest, network["Id"], force=True)
                    self.client.remove_network(network["Id"])
        volumes = self._remove_volumes(None, cluster) if data else 0
        return Removed(networks=len(networks), volumes=volumes)

    def _remove_volumes(self, label: str | None, cluster: str) -> int:
        labels = [f"{CLUSTER}={cluster}", *([label] if label else [])]
        with engine_words(f'remove volumes of "{cluster}"'):
            volumes = (self.client.volumes(filters={"label": labels}) or {}).get("Volumes") or []
            for volume in volumes:
                with _gone_is_fine():
                    self.client.remove_volume(volume["Name"], force=True)
        return len(volumes)

    def _make_volume(self, node: Rendered, cluster: str, labels: Mapping[str, str], device: str) -> bool:
        """True when the volume is new, and so has no seeds yet. One that mounts another device holds no data itself."""
        import docker.errors

        name = volume_name(cluster, node.plan.name)
        try:
            if _device(self.client.inspect_volume(name)) == device:
                return False
            self.client.remove_volume(name)
        except docker.errors.NotFound:
            pass
        kept = {key: labels[key] for key in _VOLUME_LABELS}
        options: Any = {"type": "ext4", "device": device} if device else None
        self.client.create_volume(name, driver_opts=options, labels=kept)
        return not device

    def _config(self, node: Rendered, labels: Mapping[str, str], network: str) -> dict[str, Any]:
        plan = node.plan
        ports = {f"{plan.member.ports[name]}/tcp": port for name, port in plan.member.host_ports.items()}
        binds = [f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}" for mount in plan.mounts]
        if plan.data:
            binds.append(f"{volume_name(labels[CLUSTER], plan.name)}:{plan.data}:rw")
        host: dict[str, Any] = {
            "NetworkMode": network,
            "Init": True,
            "RestartPolicy": {"Name": "no"},
            "Binds": binds,
            "PortBindings": {
                port: [{"HostIp": "127.0.0.1", "HostPort": str(number)}] for port, number in ports.items()
            },
            "ExtraHosts": [f"{name}:{address}" for name, address in plan.hosts.items()],
            "LogConfig": {"Type": "json-file", "Config": {}},
        }
        if plan.cpus is not None:
            host |= {"CpuPeriod": _PERIOD_US, "CpuQuota": round(plan.cpus * _PERIOD_US)}
        if plan.memory_bytes is not None:
            host |= {"Memory": plan.memory_bytes, "MemorySwap": plan.memory_bytes}
        config: dict[str, Any] = {
            "Image": node.image,
            "Hostname": plan.name,
            "Env": [f"{key}={value}" for key, value in plan.environment.items()],
            "Labels": dict(labels),
            "ExposedPorts": {port: {} for port in ports},
            "StopSignal": f"SIG{plan.stop_signal}",
            "HostConfig": host,
            "NetworkingConfig": {
                "EndpointsConfig": {
                    network: {
                        "IPAMConfig": {"IPv4Address": plan.member.address},
                        "Aliases": [plan.name, plan.component],
                    }
                }
            },
        }
        if plan.command is not None:
            config |= {"Cmd": list(plan.command), "Entrypoint": []}
        if plan.user:
            config["User"] = plan.user
        if plan.working_dir:
            config["WorkingDir"] = plan.working_dir
        return config


class DockerNode:
    """One container. What it does not know of itself it asks the engine."""

    def __init__(self, client: APIClient, record: NodeRecord) -> None:
        self._client = client
        self.record = record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def address(self) -> str:
        return self.record.address

    def run(self, command: Command) -> Result:
        import docker.errors
        from docker.utils.socket import STDOUT, frames_iter

        try:
            made = self._client.exec_create(
                self.record.runtime_id,
                list(command.argv),
                stdin=bool(command.stdin),
                user=command.user,
                environment=dict(command.environment),
            )
            stream = self._client.exec_start(made["Id"], socket=True)
        except docker.errors.APIError as error:
            raise NodeUnreachable(f"{self.name} cannot run {command.argv[0]}: {_reason(error)}") from error
        out: list[bytes] = []
        err: list[bytes] = []
        raw: Any = getattr(stream, "_sock", stream)
        raw.settimeout(command.timeout)
        try:
            if command.stdin:
                raw.sendall(command.stdin)
                raw.shutdown(socket.SHUT_WR)
            for kind, chunk in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]  # the stubs lack it
                (out if kind == STDOUT else err).append(chunk)
        except TimeoutError as error:
            raise NodeUnreachable(f"{self.name}: {command.argv[0]} took more than {command.timeout:g} s") from error
        finally:
            stream.close()
            raw.close()
        code = self._client.exec_inspect(made["Id"])["ExitCode"]
        return Result(code, b"".join(out), b"".join(err))

    def put(self, files: Sequence[File], users: Mapping[str, tuple[int, int]] | None = None) -> None:
        """Puts files in as one archive; owners are looked up in `users` (name -> uid, gid), root where absent."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for file in files:
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.size = len(file.content)
                entry.mode = file.mode
                entry.uid, entry.gid = (users or {}).get(file.owner, (0, 0))
                entry.mtime = int(time.time())
                tar.addfile(entry, io.BytesIO(file.content))
        with engine_words(f"put files into {self.name}"):
            self._client.put_archive(self.record.runtime_id, "/", archive.getvalue())

    def read(self, path: str) -> bytes:
        import docker.errors

        try:
            chunks, _ = self._client.get_archive(self.record.runtime_id, path)
            archive = io.BytesIO(b"".join(chunks))
        except docker.errors.NotFound as error:
            raise FileNotFoundError(f"{self.name}:{path}") from error
        except docker.errors.APIError as error:
            raise NodeUnreachable(f"{self.name}: {path} cannot be read: {_reason(error)}") from error
        with tarfile.open(fileobj=archive) as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                if content is not None:
                    return content.read()
        raise FileNotFoundError(f"{self.name}:{path} is not a file")

    def has(self, path: str) -> bool:
        try:
            self.read(path)
        except FileNotFoundError:
            return False
        return True

    def dial(self, port: int) -> tuple[str, int]:
        address = ipaddress.ip_address(self.record.address)
        if any(network.prefixlen >= 16 and address in network for network in _routes()):
            return self.record.address, port
        inspected = self._client.inspect_container(self.record.runtime_id)
        bound = (inspected["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp")
        if not bound:
            raise NodeUnreachable(
                f"port {port} of {self.name} cannot be reached from this machine: it has no route to "
                f"{self.record.address}, and the port is not published"
            )
        return bound[0]["HostIp"], int(bound[0]["HostPort"])

    def start(self) -> None:
        with engine_words(f"start {self.name}"):
            self._client.start(self.record.runtime_id)

    def stop(self, grace: float = 10.0) -> None:
        with engine_words(f"stop {self.name}"):
            self._client.stop(self.record.runtime_id, timeout=round(grace))

    def kill(self, signal: str = "KILL") -> None:
        """A node that does not run is as killed as it can be."""
        import docker.errors

        with engine_words(f"kill {self.name}"):
            try:
                self._client.kill(self.record.runtime_id, f"SIG{signal.upper().removeprefix('SIG')}")
            except docker.errors.APIError as error:
                if "is not running" not in str(error):
                    raise

    def pause(self) -> None:
        with engine_words(f"pause {self.name}"):
            self._client.pause(self.record.runtime_id)

    def unpause(self) -> None:
        with engine_words(f"unpause {self.name}"):
            self._client.unpause(self.record.runtime_id)

    def state(self) -> State:
        with engine_words(f"look at {self.name}"):
            status = self._client.inspect_container(self.record.runtime_id)["State"]["Status"]
        return _STATES.get(status, State.EXITED)


def engine_name(client: APIClient) -> str:
    """Names an engine among others, for locks."""
    return re.sub(r"\W+", "-", str(client.base_url))


def network_name(cluster: str) -> str:
    return f"clusterkit-{cluster}"


def container_name(cluster: str, node: str) -> str:
    return f"clusterkit-{cluster}-{node}"


def volume_name(cluster: str, node: str) -> str:
    return f"clusterkit-{cluster}-{node}-data"


def _cluster(
    name: str,
    containers: Sequence[dict[str, Any]],
    networks: Sequence[dict[str, Any]],
    volumes: Sequence[dict[str, Any]],
) -> ClusterRecord:
    mine = [item for item in containers if item["Labels"][CLUSTER] == name]
    net = next((item for item in networks if item["Labels"][CLUSTER] == name), None)
    left = [item for item in volumes if item["Labels"][CLUSTER] == name]
    labelled = [item["Labels"] for item in (*([net] if net else []), *mine, *left)]
    pools = ((net or {}).get("IPAM") or {}).get("Config") or [{}]
    born = net["Labels"].get("clusterkit.born", "") if net else ""
    return ClusterRecord(
        name=name,
        source=next((labels["clusterkit.source"] for labels in labelled if "clusterkit.source" in labels), ""),
        subnet=pools[0].get("Subnet", ""),
        born=born,
        nodes=tuple(
            sorted(
                (dataclasses.replace(_listed(name, item), born=born) for item in mine),
                key=lambda record: (record.component, record.index),
            )
        ),
        volumes=sum("clusterkit.node" in item["Labels"] for item in left),
        kept_subnet=next((item["Labels"].get("clusterkit.subnet", "") for item in left), ""),
        kept_addresses={
            item["Labels"]["clusterkit.node"]: item["Labels"]["clusterkit.address"]
            for item in left
            if {"clusterkit.node", "clusterkit.address"} <= set(item["Labels"])
        },
        devices={
            item["Labels"]["clusterkit.node"]: _device(item) for item in left if "clusterkit.node" in item["Labels"]
        },
        scale=next((json.loads(labels[_SCALE]) for labels in labelled if _SCALE in labels), {}),
    )


def _device(volume: Mapping[str, Any]) -> str:
    return str((volume.get("Options") or {}).get("device", ""))


def _listed(cluster: str, item: Mapping[str, Any]) -> NodeRecord:
    ended = re.match(r"Exited \((\d+)\)", item.get("Status", ""))
    return _node_of(
        cluster,
        item["Labels"],
        item["Id"],
        _STATES.get(item["State"], State.EXITED),
        int(ended[1]) if ended else None,
    )


def _node_of(
    cluster: str,
    labels: Mapping[str, str],
    container: str,
    state: State = State.CREATED,
    exit_code: int | None = None,
) -> NodeRecord:
    """Labels that are not there are taken as empty: an older clusterkit's nodes can still be listed and removed."""
    return NodeRecord(
        name=labels.get("clusterkit.node", container[:12]),
        cluster=cluster,
        component=labels.get("clusterkit.component", ""),
        kind=labels.get("clusterkit.kind", ""),
        zone=labels.get("clusterkit.zone", ""),
        index=int(labels.get("clusterkit.index", "0")),
        address=labels.get("clusterkit.address", ""),
        host_ports=json.loads(labels.get("clusterkit.host_ports", "{}")),
        parts=json.loads(labels.get("clusterkit.parts", "{}")),
        runtime_id=container,
        state=state,
        exit_code=exit_code,
    )


def _routes() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks that this host has routes to, the default route left out. Source: proc(5), /proc/net/route."""
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for line in lines:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[at]), "little") for at in (1, 7))
        if mask:
            found.append(ipaddress.IPv4Network((destination, bin(mask).count("1"))))
    return found


def _name_servers() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        text = Path("/etc/resolv.conf").read_text()
    except OSError:
        return []
    return [ipaddress.ip_network(address) for address in re.findall(r"^nameserver\s+([\d.]+)\s*$", text, re.MULTILINE)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def engine_words(doing: str) -> Iterator[None]:
    """Turns the engine's errors into ours."""
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        raise _said(error, doing) from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise EngineUnreachable(f"the engine does not answer; could not {doing}") from error


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """What somebody else removed, or is removing, is as gone as we want it."""
    import docker.errors

    try:
        yield
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if "is already in progress" not in str(error):
            raise


def _said(error: Exception, doing: str) -> ClusterkitError:
    reason = _reason(error)
    if "port is already allocated" in reason or "address already in use" in reason:
        return EnvironmentTrouble(
            f"could not {doing}: {reason}", mend="end what uses that port on this machine, or set `publish:` to another"
        )
    if "is already in use by container" in reason:
        return UsageError(
            f"could not {doing}: {reason}",
            mend="a container that is not clusterkit's has that name: rename or remove it",
        )
    return EnvironmentTrouble(f"could not {doing}: {reason}", mend="`clusterkit doctor` tries what the engine can do")


def _reason(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).strip()
