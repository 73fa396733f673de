"""L13, pure. What an image of a Compose file is: a kind of clusterkit's, or a store that cannot be tripled."""

from __future__ import annotations

_KINDS = {
    "redis": "redis",
    "library/redis": "redis",
    "bitnami/redis": "redis",
    "bitnamilegacy/redis": "redis",
    "bitnami/redis-sentinel": "redis-sentinel",
    "bitnamilegacy/redis-sentinel": "redis-sentinel",
    "bitnami/etcd": "etcd",
    "bitnamilegacy/etcd": "etcd",
    "coreos/etcd": "etcd",
    "etcd-development/etcd": "etcd",
    "etcd-io/etcd": "etcd",
    "etcd": "etcd",
    "nats": "nats",
    "library/nats": "nats",
    "bitnami/nats": "nats",
    "bitnamilegacy/nats": "nats",
    "bitnami/redis-cluster": "redis-cluster",
    "bitnamilegacy/redis-cluster": "redis-cluster",
    "zookeeper": "zookeeper",
    "library/zookeeper": "zookeeper",
    "bitnami/zookeeper": "zookeeper",
    "bitnamilegacy/zookeeper": "zookeeper",
    "confluentinc/cp-zookeeper": "zookeeper",
    "bitnami/openldap": "openldap",
    "bitnamilegacy/openldap": "openldap",
    "osixia/openldap": "openldap",
}

VOTES = frozenset({"etcd", "nats", "zookeeper"})
"""Kinds whose members vote: an odd number of them."""

_STORES = frozenset({
    "cassandra", "clickhouse-server", "cockroach", "consul", "couchdb", "elasticsearch", "grafana", "influxdb",
    "kafka", "cp-kafka", "mariadb", "memcached", "minio", "mongo", "mongodb", "mysql", "mysql-server",
    "neo4j", "opensearch", "postgis", "pgvector", "postgres", "postgresql", "prometheus", "rabbitmq",
    "timescaledb", "valkey", "vault",
})  # fmt: skip
"""Three of each would be three stores that know nothing of each other, behind one name."""


def repository(image: str) -> str:
    """The last two parts of the name, without registry, tag and digest: quay.io/coreos/etcd:v3.5 is coreos/etcd."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    parts = f"{head}{slash}{last.partition(':')[0]}".split("/")
    if len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = parts[1:]
    return "/".join(parts[-2:])


def kind_of(image: str, command: tuple[str, ...]) -> str | None:
    """The kind of clusterkit's that an image is, or None. A Redis that is started as a sentinel is one."""
    kind = _KINDS.get(repository(image))
    is_sentinel = any(word.endswith("redis-sentinel") or word == "--sentinel" for word in command)
    return "redis-sentinel" if kind == "redis" and is_sentinel else kind


def is_store(image: str) -> bool:
    """Whether it is a system that keeps data and is no cluster of its own accord."""
    return repository(image).rpartition("/")[2] in _STORES
