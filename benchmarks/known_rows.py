"""What others published about the systems of the gallery, each with a chaos test that looks for the same.

A source is named only where it was read. Where our runs differ from what was published, `reason` says why, by somebody
who found out; until then the page says that it is not yet understood.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """What runs. `components`: YAML, as below `components:`; `package`: Debian's, asked for its version on `node`."""

    name: str
    components: str
    node: str
    package: str


@dataclass(frozen=True)
class Row:
    """One published result, and the chaos test that looks for it.

    key        its name, and that of its scenario
    workload   YAML, as after `workload:`
    faults     YAML, each as an item of `faults:`
    time       how long clients call, as `25s`
    published  what was found, and in which release where that was told
    sources    where it was read: URLs
    refuted    the checker that must find it in one run at least; "" where everything has to be valid in all runs
    reason     why ours differs
    """

    key: str
    system: System
    workload: str
    faults: tuple[str, ...]
    time: str
    published: str
    sources: tuple[str, ...]
    refuted: str = ""
    reason: str = ""


ETCD = System("etcd", "{registry: {kind: etcd}}", "registry-1", "etcd-server")
SENTINEL = System(
    "redis-sentinel",
    "{cache: {kind: redis}, sentinel: {kind: redis-sentinel, watches: cache}}",
    "cache-1",
    "redis-server",
)
SENTINEL_MIN_REPLICAS = System(
    "redis-sentinel",
    "{cache: {kind: redis, min_replicas_to_write: 1}, sentinel: {kind: redis-sentinel, watches: cache}}",
    "cache-1",
    "redis-server",
)
ZOOKEEPER = System("zookeeper", "{registry: {kind: zookeeper}}", "registry-1", "libzookeeper-java")
REDIS_CLUSTER = System("redis-cluster", "{store: {kind: redis-cluster, replicas: 6}}", "store-1", "redis-server")
NATS = System("nats", "{messages: {kind: nats, data: loop}}", "messages-1", "nats-server")
OPENLDAP = System("openldap", "{directory: {kind: openldap}}", "directory-1", "slapd")
GALERA = System("galera", "{galera: {kind: galera}}", "galera-1", "mariadb-server")
POSTGRES = System("postgres", "{votes: {kind: etcd}, db: {kind: postgres, votes: votes}}", "db-1", "postgresql-15")
POSTGRES_STRICT = System(
    "postgres",
    "{votes: {kind: etcd}, db: {kind: postgres, votes: votes, synchronous: strict}}",
    "db-1",
    "postgresql-15",
)
RABBITMQ = System("rabbitmq", "{messages: {kind: rabbitmq}}", "messages-1", "rabbitmq-server")
RABBITMQ_AUTOHEAL = System(
    "rabbitmq",
    "{messages: {kind: rabbitmq, partition_handling: autoheal, settings: {net_ticktime: 8}}}",
    "messages-1",
    "rabbitmq-server",
)

ROWS = (
    Row(
        key="etcd-linearizable",
        system=ETCD,
        workload="{kind: register, component: registry}",
        faults=(
            "{at: 4s, for: 4s, kill: {target: leader of registry}}",
            "{at: 13s, for: 5s, isolate: leader of registry}",
        ),
        time="22s",
        published="etcd 3.4.3: keys and values were strictly serializable under crashes, pauses and partitions",
        sources=(
            "https://jepsen.io/blog/2020-01-30-etcd-3.4.3",
            "https://etcd.io/blog/2020/jepsen-343-results/",
        ),
    ),
    Row(
        key="etcd-serializable-reads",
        system=ETCD,
        workload="{kind: register, component: registry, reads: serializable, keys: 3, rate: 200/s, pinned: all}",
        faults=("{every: 6s, for: 3s, isolate: one of registry}",),
        time="20s",
        published="a read that asks for `serializable` may get data that is stale with respect to the quorum",
        sources=("https://etcd.io/docs/v3.4/learning/api_guarantees/",),
        refuted="linearizable",
    ),
    Row(
        key="sentinel-partition",
        system=SENTINEL,
        workload="{kind: set, component: sentinel}",
        faults=("{at: 5s, for: 10s, isolate: primary of cache}",),
        time="20s",
        published="a primary that is cut off goes on to acknowledge writes, which are gone when it is demoted (56 % of "
        "them, Redis of 2013)",
        sources=("https://aphyr.com/posts/283-jepsen-redis",),
        refuted="set",
    ),
    Row(
        key="sentinel-min-replicas",
        system=SENTINEL_MIN_REPLICAS,
        workload="{kind: set, component: sentinel}",
        faults=("{at: 5s, for: 14s, isolate: primary of cache}",),
        time="24s",
        published="acknowledged writes are not sure to survive failures, since replication is asynchronous; there are "
        "ways to limit the window",
        sources=("https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/",),
        refuted="set",
    ),
    Row(
        key="zookeeper-sync-reads",
        system=ZOOKEEPER,
        workload="{kind: register, component: registry, rate: 50/s, reads: sync}",
        faults=(
            "{at: 4s, for: 4s, kill: {target: leader of registry}}",
            "{at: 14s, for: 6s, isolate: leader of registry}",
        ),
        time="26s",
        published="writes are linearizable; a read after a sync is meant to be fresh, and may under some conditions be "
        "stale",
        sources=(
            "https://aphyr.com/posts/291-call-me-maybe-ZooKeeper",
            "https://github.com/jepsen-io/jepsen/issues/399",
        ),
    ),
    Row(
        key="zookeeper-plain-reads",
        system=ZOOKEEPER,
        workload="{kind: register, component: registry, rate: 200/s, keys: 3, reads: plain, pinned: all}",
        faults=("{every: 6s, for: 3s, isolate: one of registry}",),
        time="20s",
        published="reads are not linearizable: a server answers from what it has itself, which may be stale",
        sources=("https://github.com/jepsen-io/jepsen/issues/399",),
        refuted="linearizable",
    ),
    Row(
        key="redis-cluster-partition",
        system=REDIS_CLUSTER,
        workload="{kind: set, component: store, keys: 6, pinned: all}",
        faults=("{at: 5s, for: 12s, isolate: one of primary of store}",),
        time="22s",
        published="acknowledged writes can be lost in a window around a failover, a larger one for clients that are "
        "with a minority",
        sources=("https://redis.io/topics/cluster-spec/",),
        refuted="set",
    ),
    Row(
        key="nats-power-loss",
        system=NATS,
        workload="{kind: set, component: messages}",
        faults=("{at: 8s, for: 2s, power-loss: {target: messages}}",),
        time="22s",
        published="NATS 2.12.1: a power failure of all nodes loses acknowledged messages, since they are synced to the "
        "disk every two minutes by default",
        sources=("https://jepsen.io/analyses/nats-2.12.1",),
        refuted="set",
    ),
    Row(
        key="galera-bank",
        system=GALERA,
        workload="{kind: bank, component: galera}",
        faults=("{at: 6s, for: 4s, pause: one of galera}",),
        time="20s",
        published="MariaDB Galera Cluster 12.1.2: lost updates even without faults: a transaction that reads "
        "and then writes may undo another one",
        sources=("https://jepsen.io/blog/2026-03-16-mariadb-galera-cluster-12.1.2",),
        refuted="bank",
    ),
    Row(
        key="postgres-asynchronous",
        system=POSTGRES,
        workload="{kind: set, component: db, rate: 50/s, pinned: all}",
        faults=("{at: 5s, for: 28s, isolate: primary of db}",),
        time="40s",
        published="Patroni replicates asynchronously by default: committed transactions that no replica had when the "
        "primary failed are lost",
        sources=("https://access.crunchydata.com/documentation/patroni/latest/replication_modes",),
        refuted="set",
    ),
    Row(
        key="postgres-synchronous-strict",
        system=POSTGRES_STRICT,
        workload="{kind: set, component: db, rate: 50/s, pinned: all}",
        faults=("{at: 5s, for: 28s, isolate: primary of db}",),
        time="40s",
        published="with `synchronous_mode` no replica is promoted unless it is certain to have all that was "
        "acknowledged",
        sources=("https://patroni.readthedocs.io/en/latest/replication_modes.html",),
    ),
    Row(
        key="rabbitmq-quorum",
        system=RABBITMQ,
        workload="{kind: queue, component: messages, rate: 50/s, keys: 1}",
        faults=(
            "{at: 6s, for: 5s, kill: {target: one of workload-leader of messages}}",
            "{at: 22s, for: 6s, isolate: one of workload-leader of messages}",
        ),
        time="40s",
        published="a message that a quorum queue has confirmed is on a majority of its servers, and is not lost as "
        "long as a majority of them is not lost for good",
        sources=("https://www.rabbitmq.com/docs/3.13/quorum-queues",),
    ),
    Row(
        key="rabbitmq-mirrored-autoheal",
        system=RABBITMQ_AUTOHEAL,
        workload="{kind: queue, component: messages, rate: 50/s, keys: 1, queues: mirrored, pinned: all}",
        faults=("{at: 6s, for: 30s, isolate: one of workload-leader of messages}",),
        time="50s",
        published="mirrored queues lose acknowledged messages in partitions (told of 2014 and of 2018)",
        sources=(
            "https://aphyr.com/posts/315-call-me-maybe-rabbitmq",
            "https://jack-vanlightly.com/blog/2018/9/10/how-to-lose-messages-on-a-rabbitmq-cluster",
        ),
        refuted="queue",
    ),
    Row(
        key="openldap-entries",
        system=OPENLDAP,
        workload="{kind: set, component: directory, pinned: all}",
        faults=(
            "{at: 4s, for: 8s, partition: {shape: halves, target: directory}}",
            "{at: 18s, for: 4s, kill: {target: one of directory}}",
        ),
        time="26s",
        published="when a provider fails, or is cut off, the others go on to take updates",
        sources=("https://www.openldap.org/doc/admin24/replication.html",),
    ),
    Row(
        key="openldap-one-entry",
        system=OPENLDAP,
        workload="{kind: set, component: directory, pinned: all, elements: values}",
        faults=("{at: 4s, for: 8s, partition: {shape: halves, target: directory}}",),
        time="20s",
        published="it breaks the consistency guarantees of the directory model: what clients write to both sides of a "
        "partition is hard to reconcile",
        sources=("https://www.openldap.org/doc/admin24/replication.html",),
        refuted="set",
    ),
    Row(
        key="openldap-clock-ahead",
        system=OPENLDAP,
        workload="{kind: set, component: directory, pinned: all, elements: values}",
        faults=("{at: 5s, for: 10s, clock-jump: {target: directory-1, by: 60s}}",),
        time="25s",
        published="writes to several masters may lead to permanent inconsistencies; their clocks have to be in step",
        sources=("https://openldap.org/faq/data/cache/1240.html",),
        refuted="convergence",
    ),
)
