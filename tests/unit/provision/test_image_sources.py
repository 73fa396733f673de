"""Package sources: both formats are read, filtered by release; keys and logins go to the build and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.provision.sources import (
    Machine,
    Source,
    acquire_settings,
    for_release,
    masked,
    parse_deb822,
    parse_one_line,
)

APT = Path(__file__).parents[2] / "fixtures" / "apt"


def text(name: str) -> str:
    return (APT / name).read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    for name in ("debian.sources", "other.sources"):
        (folder / name).write_text(text(name))
    (folder / "old.list.disabled").write_text("deb http://disabled.example/debian bookworm main\n")
    (tmp_path / "etc/apt/sources.list").write_text(text("sources.list"))
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    keys = tmp_path / "usr/share/keyrings"
    keys.mkdir(parents=True)
    (keys / "archive.gpg").write_bytes(b"\x99key")
    return Machine(tmp_path, {"http_proxy": "http://proxy.example:3128", "HOME": "/root"})


def test_deb822_gives_enabled_binary_stanzas() -> None:
    first, second = parse_deb822(text("debian.sources"))
    assert first == Source(
        ("http://mirror.example/debian",),
        ("bookworm", "bookworm-updates", "trixie"),
        ("main", "contrib"),
        "/usr/share/keyrings/archive.gpg",
    )
    assert second.suites == ("bookworm-security",)
    assert second.options == {"architectures": "amd64"}
    assert second.signed_by.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n.\nmQINBGPL")


def test_one_line_entries_with_options_and_comments() -> None:
    plain, options, cloud = parse_one_line(text("sources.list"))
    assert plain == Source(("http://list.example/debian",), ("bookworm",), ("main", "non-free"))
    assert options.signed_by == "/usr/share/keyrings/archive.gpg"
    assert options.options == {"architectures": "amd64 arm64", "trusted": "yes"}
    assert cloud.suites == ("cloud-sdk-bookworm",)


def test_only_the_release_of_the_distributions_own_archive_is_taken() -> None:
    found = [*parse_deb822(text("debian.sources")), *parse_deb822(text("other.sources"))]
    kept = list(for_release([*found, *parse_one_line(text("sources.list"))], "bookworm"))
    assert [(source.uris[0].split("/")[2], source.suites) for source in kept] == [
        ("mirror.example", ("bookworm", "bookworm-updates")),
        ("user:hunter22@secure.example", ("bookworm-security",)),
        ("list.example", ("bookworm",)),
        ("opts.example", ("bookworm-updates",)),
    ]


def test_machine_reads_active_files_only(machine: Machine) -> None:
    assert machine.release() == ("debian", "bookworm")
    hosts = {uri.split("/")[2] for source in machine.sources("bookworm") for uri in source.uris}
    assert hosts == {"list.example", "opts.example", "mirror.example", "user:hunter22@secure.example"}
    assert machine.sources("noble") == ()


def test_build_files_carry_keys_of_their_own(machine: Machine) -> None:
    files = {file.path: file for file in machine.apt_files("bookworm", "/build")}
    sources = files["/build/sources.list.d/clusterkit-build.sources"].content.decode()
    signed = [line.partition(": ")[2] for line in sources.splitlines() if line.startswith("Signed-By")]
    contents = {files[path].content for path in signed}
    assert b"\x99key" in contents
    assert b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBGPL\n-----END PGP PUBLIC KEY BLOCK-----\n" in contents
    assert "keyrings" not in sources


def test_a_machine_without_that_release_gives_no_sources(machine: Machine) -> None:
    assert not any("sources.list" in file.path for file in machine.apt_files("noble"))


def test_logins_and_authorities_go_along(machine: Machine) -> None:
    (machine.root / "etc/apt/auth.conf.d").mkdir()
    (machine.root / "etc/apt/auth.conf.d/mirror.conf").write_text("machine mirror.example login user password hunter22")
    (machine.root / "etc/ssl/certs").mkdir(parents=True)
    (machine.root / "etc/ssl/certs/ca-certificates.crt").write_text("CERTIFICATE")
    files = {file.path: file for file in machine.apt_files("bookworm")}
    assert files["/etc/apt/auth.conf.d/mirror.conf"].mode == 0o600
    assert files["/etc/apt/clusterkit-ca.crt"].content == b"CERTIFICATE"
    assert b"https::CAInfo" in files["/etc/apt/apt.conf.d/99clusterkit-build"].content
    assert machine.build_environment() == {
        "http_proxy": "http://proxy.example:3128",
        "DEBIAN_FRONTEND": "noninteractive",
        "SSL_CERT_FILE": "/etc/apt/clusterkit-ca.crt",
    }


def test_settings_say_how_packages_are_fetched_and_nothing_else() -> None:
    assert acquire_settings(text("apt-config.txt")).splitlines() == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://user:hunter22@proxy.example:3128";',
        'Acquire::https::Timeout "10";',
        'Acquire::Retries "3";',
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("E: https://user:hunter22@secure.example/x 401", "E: https://***@secure.example/x 401"),
        ("token is swordfish-9", "token is ***"),
        ("the door is open", "the door is open"),
        ("mail root@host.example", "mail root@host.example"),
    ],
)
def test_masked(said: str, shown: str) -> None:
    assert masked(said, {"API_TOKEN": "swordfish-9", "DOOR": "open", "SECRET_FLAG": "is"}) == shown
