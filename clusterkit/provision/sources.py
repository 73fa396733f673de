"""L7. The package sources of this machine, as a build may use them: filtered by release, with keys, proxies, logins.

Nothing made here stays in an image: builds have it in a volume over /etc/apt, which a commit leaves out.
Source: sources.list(5), apt.conf(5), apt_auth.conf(5).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clusterkit.node import File

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_KEYS = "clusterkit-keys"
_AUTHORITIES = "clusterkit-ca.crt"


@dataclass(frozen=True)
class Source:
    """One stanza. `signed_by` is the paths of key files, or the text of a key; `options` are the other fields."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse_deb822(text: str) -> Iterator[Source]:
    """The binary, enabled stanzas of a *.sources file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += f"\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" in fields.pop("types", "").split() and fields.pop("enabled", "yes").lower() not in ("no", "false"):
            yield Source(
                uris=tuple(fields.pop("uris", "").split()),
                suites=tuple(fields.pop("suites", "").split()),
                components=tuple(fields.pop("components", "").split()),
                signed_by=fields.pop("signed-by", "").strip(),
                options={
                    key: fields[key] for key in ("architectures", "trusted", "check-valid-until") if key in fields
                },
            )


def parse_one_line(text: str) -> Iterator[Source]:
    """The binary entries of a *.list file: deb [option=value] URI SUITE COMPONENT..."""
    for line in text.splitlines():
        found = re.fullmatch(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)", line.partition("#")[0].strip())
        if found is None:
            continue
        uri, suite, *components = found["rest"].split()
        options = dict(item.partition("=")[::2] for item in (found["options"] or "").split())
        names = {"arch": "architectures", "trusted": "trusted", "check-valid-until": "check-valid-until"}
        yield Source(
            uris=(uri,),
            suites=(suite,),
            components=tuple(components),
            signed_by=options.get("signed-by", "").replace(",", " "),
            options={names[key]: value.replace(",", " ") for key, value in options.items() if key in names},
        )


def for_release(sources: Iterable[Source], codename: str) -> Iterator[Source]:
    """Those of the distribution's own archive for one release: its suites, and a component "main".

    Other makers' archives name their suites and components otherwise ("nodistro", "stable", "bookworm-pgdg").
    """
    wanted = (codename, f"{codename}-updates", f"{codename}-security")
    for source in sources:
        suites = tuple(suite for suite in source.suites if suite in wanted)
        if suites and "main" in source.components:
            yield Source(source.uris, suites, source.components, source.signed_by, source.options)


def acquire_settings(dump: str) -> str:
    """Of the text of `apt-config dump`, how packages are fetched: proxies, timeouts, checks of dates.

    Programs that find a proxy are left out: a build container does not have them.
    """
    kept = r"Acquire::(https?|ftp)::.+|Acquire::(Check-Valid-Until|Check-Date|Retries|ForceIPv[46])"
    lines = [line for line in dump.splitlines() if re.fullmatch(rf'({kept}) ".+";', line)]
    return "".join(f"{line}\n" for line in lines if "Proxy-Auto-Detect" not in line and "ProxyAutoDetect" not in line)


@dataclass(frozen=True)
class Machine:
    """This machine, or a folder that looks like one (tests)."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def release(self) -> tuple[str, str]:
        """("debian", "bookworm"); empty texts where the machine does not say."""
        try:
            text = (self.root / "etc/os-release").read_text()
        except OSError:
            return "", ""
        said = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in text.splitlines())}
        return said.get("ID", ""), said.get("VERSION_CODENAME", "")

    def sources(self, codename: str) -> tuple[Source, ...]:
        """The machine's sources of one release of its distribution."""
        apt = self.root / "etc/apt"
        found: list[Source] = []
        for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
            if path.is_file() and path.suffix == ".list":
                found += parse_one_line(path.read_text())
            elif path.is_file() and path.suffix == ".sources":
                found += parse_deb822(path.read_text())
        return tuple(for_release(found, codename))

    def apt_files(self, codename: str, folder: str = "/etc/apt") -> tuple[File, ...]:
        """What apt needs below `folder` to fetch packages of a release as this machine does; paths are whole.

        Without sources of that release there are only the settings: the image's own sources stay.
        """
        files: list[File] = []
        stanzas: list[str] = []
        for number, source in enumerate(self.sources(codename)):
            keys, names = self._keys(source, f"{folder}/{_KEYS}/{number}")
            files += keys
            stanzas.append(_stanza(source, names))
        if stanzas:
            files.append(File(f"{folder}/sources.list.d/clusterkit-build.sources", "\n".join(stanzas).encode()))
        for path in ("trusted.gpg", "trusted.gpg.d", "auth.conf", "auth.conf.d"):
            mode = 0o600 if path.startswith("auth") else 0o644
            files += [
                File(f"{folder}/{found.relative_to(self.root / 'etc/apt')}", found.read_bytes(), mode)
                for found in _files_at(self.root / "etc/apt" / path)
            ]
        settings = f'{self._settings()}Acquire::Languages "none";\n'  # translations are a third of all lists
        for authorities in _files_at(self.root / "etc/ssl/certs/ca-certificates.crt"):
            files.append(File(f"{folder}/{_AUTHORITIES}", authorities.read_bytes()))
            if "https::CAInfo" not in settings:
                settings += f'Acquire::https::CAInfo "{folder}/{_AUTHORITIES}";\n'
        files.append(File(f"{folder}/apt.conf.d/99clusterkit-build", settings.encode()))
        return tuple(files)

    def build_environment(self) -> dict[str, str]:
        """What programs of a role need to reach the network as this machine does."""
        names = [*PROXIES, *(name.upper() for name in PROXIES)]
        made = {name: self.environment[name] for name in names if self.environment.get(name)}
        made["DEBIAN_FRONTEND"] = "noninteractive"
        if _files_at(self.root / "etc/ssl/certs/ca-certificates.crt"):
            made["SSL_CERT_FILE"] = f"/etc/apt/{_AUTHORITIES}"
        return made

    def _settings(self) -> str:
        if shutil.which("apt-config") is None:
            return ""
        command = ["apt-config", "-o", f"Dir={self.root}", "dump"]
        return acquire_settings(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def _keys(self, source: Source, name: str) -> tuple[list[File], list[str]]:
        """The files of a source's keys and their new paths; apt tells the kinds apart by the file's suffix."""
        if "BEGIN PGP" in source.signed_by:
            text = "\n".join("" if line == "." else line for line in source.signed_by.splitlines())
            return [File(f"{name}.asc", f"{text}\n".encode())], [f"{name}.asc"]
        files = []
        for at, word in enumerate(source.signed_by.split()):
            for path in _files_at(self.root / word.lstrip("/")) if word.startswith("/") else ():
                files.append(File(f"{name}-{at}{path.suffix}", path.read_bytes()))
        return files, [file.path for file in files]


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without logins in URLs, and without the values of variables that are secrets by their names."""
    text = re.sub(r"(?<=://)[^/@\s'\"]+@", "***@", text)
    for name, value in (os.environ if environment is None else environment).items():
        if re.search(r"(?i)password|passwd|token|secret|api_?key|credential", name) and len(value) >= 6:
            text = text.replace(value, "***")
    return text


def _stanza(source: Source, keys: list[str]) -> str:
    fields = {
        "Types": "deb",
        "URIs": " ".join(source.uris),
        "Suites": " ".join(source.suites),
        "Components": " ".join(source.components),
        "Signed-By": " ".join(keys),
        **{name.title(): value for name, value in source.options.items()},
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _files_at(path: Path) -> list[Path]:
    """The file itself, or the files of a folder; nothing where nothing can be read."""
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and os.access(file, os.R_OK)]
