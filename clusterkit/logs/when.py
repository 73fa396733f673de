"""L8, pure. What people write after --since and --until -> ns since 1970."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import NoReturn

from clusterkit.errors import UsageError
from clusterkit.units import Duration

_FORM = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)(?:[T ]|$))?(?:(?P<clock>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


def moment(text: str, now_ns: int, zone: tzinfo | None = None) -> int:
    """ "5m" is five minutes before `now_ns`; else a date, a time of day, or both, to the nanosecond.

    `zone` holds where the text names none; None is the zone of this machine. A time of day alone is the last one before
    now. Raises: UsageError.
    """
    if re.fullmatch(r"(\d+(\.\d+)?\s*(ms|us|s|m|h))+", text.strip()):
        return now_ns - round(Duration.parse(text).seconds * 1e9)
    found = _FORM.fullmatch(text.strip())
    if found is None or not (found["date"] or found["clock"]):
        _refuse(text)
    if found["zone"]:
        zone = _zone(found["zone"])
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).astimezone(zone)
    try:
        day = date.fromisoformat(found["date"]) if found["date"] else now.date()
        clock = datetime.strptime(found["clock"] or "00:00", "%H:%M:%S" if len(found["clock"] or "") > 5 else "%H:%M")
    except ValueError:
        _refuse(text)
    said = _at(datetime.combine(day, clock.time()), zone, found["fraction"])
    if not found["date"] and said > now_ns:
        said = _at(datetime.combine(day - timedelta(days=1), clock.time()), zone, found["fraction"])
    return said


def _refuse(text: str) -> NoReturn:
    raise UsageError(
        f'"{text}" is no moment',
        mend="write how long ago (5m, 1h30m), a time (12:03, 12:03:04.567), or a date and time (2026-11-22T22:11:02Z)",
    )


def _at(moment: datetime, zone: tzinfo | None, fraction: str | None) -> int:
    local = moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
    return int(local.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def _zone(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1))
