"""L8, pure. The level of a line: from what the component says of its format, from JSON, from the usual forms.

Five levels, from debug to critical. A line that carries none has the level "" and counts as info in comparisons: it
passes `--level info` and is left out by `--level warning`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from clusterkit.components.base import LogFormat

LEVELS = ("debug", "info", "warning", "error", "critical")

_RANKS = {level: rank for rank, level in enumerate(LEVELS)} | {"": LEVELS.index("info")}
_WORDS = {
    word: level
    for level, words in {
        "debug": "debug dbug dbg trace trc verbose fine finer finest debug1 debug2 debug3 debug4 debug5",
        "info": "info information informational inf notice note log config default",
        "warning": "warning warn wrn",
        "error": "error err eror severe",
        "critical": "critical crit crt fatal ftl panic dpanic emerg emergency alert",
    }.items()
    for word in words.split()
}
_LETTERS = {"T": "debug", "D": "debug", "V": "debug", "I": "info", "N": "info", "W": "warning", "E": "error"} | {
    "F": "critical",
    "C": "critical",
    "A": "critical",
}
_JSON_KEYS = ("level", "lvl", "severity", "@l", "log.level", "levelname", "loglevel", "log_level")
_SYSLOG = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
"""By severity, 0 (emergency) to 7 (debug). Source: RFC 5424, 6.2.1."""

_REDIS = re.compile(r"\d+:[A-Z] \d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3} ([.\-*#]) ")
_REDIS_MARKS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_KLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
_PRIORITY = re.compile(r"<(\d{1,3})>")
_TROUBLE = re.compile(
    r"""(?P<critical> panic:\s | fatal\ error:\s | thread\ '.*'\ panicked\ at | Segmentation\ fault )
      | (?P<error> Traceback\ \(most\ recent\ call\ last\): | Exception\ in\ thread\ | goroutine\ \d+\ \[ )""",
    re.VERBOSE,
)
_PAIR = re.compile(r"(?:level|lvl|severity)=[\"']?(\w+)")
_NOT_ALONE = frozenset({"default", "config", "fine", "note", "alert"})
"""Levels in brackets or before a colon; mere words in capitals."""
_TOKENS = {
    token: level
    for word, level in _WORDS.items()
    for token in (
        *(f"[{each}]" for each in (word, word.upper(), word.title())),
        *(f"{each}:" for each in (word, word.upper(), word.title())),
        *(() if word in _NOT_ALONE else (word.upper(),)),
    )
}
"""What stands between spaces -> level: [error], [Note], ERROR, error: (before a message)."""
_AROUND = "()<>|,;"
_FAR = 160
"""Characters of a line that are searched: a level stands at the front, what follows is the message."""
_HINT = re.compile(r"[A-Z\[=:<]")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REDIS_TIME = re.compile(
    r"\d+:[A-Z] (?P<day>\d\d) (?P<month>\w{3}) (?P<year>\d{4}) (?P<clock>\d\d:\d\d:\d\d)\.\d{3} (?=[.\-*#] )"
)
_ISO_TIME = re.compile(
    r"\[?(?P<date>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(?:Z| UTC|[+-]00:?00)?\]?[ :]+(?:- )?"
)
_SAME_MOMENT_NS = 3_000_000_000
_JSON_MESSAGES = ("msg", "message", "@m", "@mt")
_JSON_TIMES = ("ts", "time", "timestamp", "@timestamp", "@t")
_QUOTED = re.compile(r'[\s"=]|^$')


def for_people(text: str, time_ns: int) -> str:
    """A line as it is best read beside the time it was written at: without its own time, JSON as message and fields.

    A program whose clock is wrong keeps its time: it is what one wants to see. Times without a zone count as UTC.
    """
    if text.startswith("{"):
        return _unfolded(text, time_ns)
    if not text[:1].isdigit() and text[:1] != "[":
        return text
    if found := _REDIS_TIME.match(text):
        month = _MONTHS.index(found["month"]) + 1 if found["month"] in _MONTHS else 0
        date = f"{found['year']}-{month:02d}-{found['day']}"
    elif found := _ISO_TIME.match(text):
        date = found["date"]
    else:
        return text
    return text[found.end() :] if _is_same(_seconds(f"{date}T{found['clock']}+00:00"), time_ns) else text


def _unfolded(text: str, time_ns: int) -> str:
    """`{"level": "warn", "msg": "slow", "took": "2s"}` -> `[warn] slow took=2s`; text as it is where that cannot be."""
    try:
        said = json.loads(text)
    except ValueError:
        return text
    message = next((said.pop(key) for key in _JSON_MESSAGES if isinstance(said.get(key), str)), None)
    if message is None:
        return text
    level = next((said.pop(key) for key in _JSON_KEYS if isinstance(said.get(key), str | int)), None)
    for key in _JSON_TIMES:
        if key in said and _is_same(_moment(said[key]), time_ns):
            del said[key]
    parts = [f"[{level if isinstance(level, str) else _of_number(level)}]"] if level is not None else []
    parts.append(message)
    for key, value in said.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{key}={json.dumps(shown, ensure_ascii=False) if _QUOTED.search(shown) else shown}")
    return " ".join(part for part in parts if part)


def _moment(said: object) -> float | None:
    """Seconds since 1970 from a time in JSON: a text, or a number of seconds, ms, us or ns."""
    if isinstance(said, str):
        return _seconds(said)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    size = next((size for size in (1e9, 1e6, 1e3) if said > 1e8 * size), 1)
    return said / size


def _is_same(seconds: float | None, time_ns: int) -> bool:
    return seconds is not None and abs(seconds * 1e9 - time_ns) <= _SAME_MOMENT_NS


@lru_cache(maxsize=64)
def _seconds(text: str) -> float | None:
    """Seconds since 1970; None where it is no time, or no calendar has that day. Without a zone it is UTC."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()


def is_at_least(level: str, asked: str) -> bool:
    """Whether an entry of this level passes when `asked` is the least."""
    return _RANKS[level] >= _RANKS[asked]


class LevelReader:
    """Reads the level of lines of one component."""

    def __init__(self, form: LogFormat | None = None) -> None:
        form = form or LogFormat()
        self._own = re.compile(form.level) if form.level else None
        self._words = {word.lower(): level for word, level in form.words.items()}
        self._marks = dict(form.words)
        self._json_keys = tuple(dict.fromkeys((form.json_level, *_JSON_KEYS)))

    def __call__(self, text: str) -> str:
        """One of LEVELS, or "". Of several lines, the first that says."""
        line = text.partition("\n")[0]
        if line.startswith("{") and line.rstrip().endswith("}"):
            found = self._of_json(line)
            if found is not None:
                return found
        if self._own is not None:
            own = self._own.search(line)
            if own is not None and own["level"] is not None:
                return self._of_word(own["level"])
        return self._of_text(line[:_FAR])

    def _of_json(self, line: str) -> str | None:
        """None where it is not JSON after all."""
        try:
            said = json.loads(line)
        except ValueError:
            return None
        for key in self._json_keys:
            value = _look_up(said, key)
            if isinstance(value, str):
                return self._of_word(value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _of_number(int(value))
        return ""

    def _of_word(self, word: str) -> str:
        known = self._marks.get(word) or self._words.get(word.lower()) or _WORDS.get(word.lower())
        if known:
            return known
        if word.isdigit():
            return _of_number(int(word))
        return _LETTERS.get(word.upper(), "") if len(word) == 1 else ""

    def _of_text(self, line: str) -> str:
        if not _HINT.search(line):
            return ""
        level = _of_start(line)
        if level:
            return level
        if "=" in line and (pair := _PAIR.search(line)):
            return self._of_word(pair[1])
        return _of_words(line)


def _of_start(line: str) -> str:
    """From the forms that are known by their first characters."""
    start = line[0]
    if start.isdigit() and (redis := _REDIS.match(line)):
        return _REDIS_MARKS[redis[1]]
    if start == "<" and (priority := _PRIORITY.match(line)):
        return _SYSLOG[int(priority[1]) & 7]
    if klog := _KLOG.match(line):
        return _LETTERS[klog[1]]
    trouble = _TROUBLE.match(line)
    return str(trouble.lastgroup) if trouble else ""


def _of_words(line: str) -> str:
    """From the first word that is a level."""
    for word in line.split():
        level = _TOKENS.get(word)
        if level is None and not word.isalnum() and not word[0].isdigit():
            level = _of_cluttered(word)
        if level:
            return level
    return ""


def _of_cluttered(word: str) -> str | None:
    """From a word with more than letters: `(ERROR)`, `WARNING:root:slow`, `[error]31#31`."""
    word = word.strip(_AROUND)
    if word[:1] == "[":
        return _WORDS.get(word[1:].partition("]")[0].lower())
    head = word.partition(":")[0]
    return _TOKENS.get(head) if head.isupper() else None


def _of_number(number: int) -> str:
    """pino and bunyan count 10 (trace) to 60 (fatal); what is below 8 is a syslog severity."""
    if 0 <= number < 8:
        return _SYSLOG[number]
    for least, level in ((60, "critical"), (50, "error"), (40, "warning"), (30, "info"), (10, "debug")):
        if number >= least:
            return level
    return ""


def _look_up(said: Mapping[str, Any], key: str) -> object:
    """`log.level` is one key in some programs, and a path in others."""
    if key in said:
        return said[key]
    value: object = said
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
