"""What our program relies on. `cluster` and `chaos` are fixtures that come with clusterkit.

pip install clusterkit pytest
pytest
"""

import base64
import json
import urllib.error
import urllib.request


def call(endpoint, path, **content):
    """etcd's JSON gateway; texts are base64 there."""
    content = {name: base64.b64encode(text.encode()).decode() for name, text in content.items()}
    request = urllib.request.Request(f"http://{endpoint}{path}", json.dumps(content).encode())
    with urllib.request.urlopen(request, timeout=2) as answer:
        return json.load(answer)


def put(cluster, key, value):
    """Through the first node that takes it, as a client does that knows all endpoints."""
    for endpoint in cluster.endpoints("registry") * 10:
        try:
            return call(endpoint, "/v3/kv/put", key=key, value=value)
        except (OSError, urllib.error.URLError):
            continue
    raise AssertionError("no node took the write")


def get(endpoint, key):
    values = call(endpoint, "/v3/kv/range", key=key).get("kvs", [])
    return base64.b64decode(values[0]["value"]).decode() if values else None


def test_a_write_survives_the_loss_of_the_leader(cluster, chaos):
    put(cluster, "colour", "blue")
    with chaos("kill", target="leader of registry"):
        put(cluster, "colour", "green")
    cluster.wait_healthy()
    assert [get(endpoint, "colour") for endpoint in cluster.endpoints("registry")] == ["green"] * 3


def test_a_replica_that_was_cut_off_catches_up(cluster, chaos):
    replica = cluster.node("cache-2")
    with chaos("isolate", target="cache-2"):
        cluster.node("cache-1").exec("redis-cli", "set", "seen", "1")
    cluster.wait_healthy("cache")
    assert replica.exec("redis-cli", "get", "seen").stdout.strip() == b"1"


def test_a_slow_network_is_slow_and_nothing_else(cluster, chaos):
    with chaos("latency", delay="50ms", target="registry", towards="registry") as effect:
        put(cluster, "colour", "red")
    assert effect.bites
    assert get(cluster.endpoints("registry")[0], "colour") == "red"
