"""When nothing is missing, the engine is asked once, and nothing is made."""

from __future__ import annotations

from typing import Any, cast

from docker import APIClient

from clusterkit.journal import Entry, Journal
from clusterkit.model.image import Install
from clusterkit.provision.images import BuiltImage, Images
from clusterkit.provision.recipe import image_tag

ETCD, REDIS = Install("etcd"), Install("redis")


class Engine:
    """An engine with some images; it counts what it is asked."""

    base_url = "http+docker://fake"

    def __init__(self, *tags: str) -> None:
        self.tags, self.calls = tags, 0

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        assert filters == {"label": "clusterkit.image"}
        self.calls += 1
        return [{"Id": f"sha256:{at}", "RepoTags": [tag], "Labels": LABELS} for at, tag in enumerate(self.tags)]


LABELS = {"clusterkit.image": "any", "clusterkit.users": '{"root":[0,0],"etcd":[100,101]}'}


def images(engine: Engine, entries: list[Entry]) -> Images:
    return Images(cast(APIClient, cast(Any, engine)), Journal(entries.append))


def test_all_are_there() -> None:
    engine, entries = Engine(image_tag(ETCD), image_tag(REDIS), "clusterkit/old:1"), list[Entry]()
    built = images(engine, entries).ensure({ETCD, REDIS})
    assert built[ETCD] == BuiltImage(image_tag(ETCD), {"root": (0, 0), "etcd": (100, 101)})
    assert set(built) == {ETCD, REDIS}
    assert (engine.calls, entries) == (1, [])


def test_podman_puts_its_own_name_before_a_tag() -> None:
    engine = Engine(f"localhost/{image_tag(ETCD)}")
    assert images(engine, []).missing({ETCD}) == ()


def test_what_is_missing_is_told_in_the_order_of_tags() -> None:
    engine = Engine(image_tag(ETCD))
    assert images(engine, []).missing({REDIS, ETCD, Install("service")}) == (REDIS, Install("service"))
