"""L0. Text with a unit <-> numbers: "250ms", "64MB", "100/s", "10%".

A bare number is refused, because nobody can tell seconds from milliseconds afterwards. Pydantic reads these types
through `__get_pydantic_core_schema__`, so that they may stand as fields of any option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

_NUMBER = r"(\d+(?:\.\d+)?)"


@dataclass(frozen=True, order=True)
class _Quantity:
    """A number with a unit; `amount` counts the smallest unit named in `units`."""

    amount: float
    units: ClassVar[dict[str, float]] = {}
    example: ClassVar[str] = ""
    several: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises: ValueError, with the mend in its text."""
        if isinstance(text, cls):
            return text
        noun = cls.__name__.lower()
        if isinstance(text, bool) or not isinstance(text, str):
            hint = (
                f'"{text}{next(iter(cls.units))}"'
                if isinstance(text, int | float) and not isinstance(text, bool)
                else f'"{cls.example}"'
            )
            raise ValueError(f"a {noun} needs a unit, for example {hint}")
        one = _NUMBER + r"\s*(" + "|".join(sorted(map(re.escape, cls.units), key=len, reverse=True)) + ")"
        pattern = f"(?:{one})+" if cls.several else one
        if not re.fullmatch(pattern, text.strip()):
            raise ValueError(f'"{text}" is not a {noun}; write it like "{cls.example}"')
        amount = sum(float(number) * cls.units[unit] for number, unit in re.findall(one, text))
        return cls(float(f"{amount:.15g}"))  # 1751 * 1e-3 is not 1.751, but "1751ms" is "1.751s"

    def __str__(self) -> str:
        """In the largest unit that needs at most three decimals."""
        texts = [
            (size, f"{self.amount / size:.3f}".rstrip("0").rstrip(".") + unit)
            for unit, size in self.units.items()
            if self.amount >= size
        ]
        close = min(self.units.values()) / 10_000  # a tenth of the last decimal
        exact = [(size, text) for size, text in texts if abs(type(self).parse(text).amount - self.amount) < close]
        if exact:
            return max(exact, key=lambda item: item[0])[1]
        unit, size = min(self.units.items(), key=lambda item: item[1])
        return f"{self.amount / size:.3f}".rstrip("0").rstrip(".") + unit

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "examples": [cls.example], "description": f"a {cls.__name__.lower()} with its unit"}


@dataclass(frozen=True, order=True)
class Duration(_Quantity):
    """A length of time in seconds: "250ms", "1m30s"."""

    units: ClassVar[dict[str, float]] = {"s": 1, "ms": 1e-3, "us": 1e-6, "m": 60, "h": 3600}
    example: ClassVar[str] = "250ms"
    several: ClassVar[bool] = True

    @property
    def seconds(self) -> float:
        return self.amount

    @property
    def milliseconds(self) -> int:
        return round(self.amount * 1000)


@dataclass(frozen=True, order=True)
class Size(_Quantity):
    """A number of bytes: "64MB"; k, M, G count in 1024s, as Docker and Redis do."""

    units: ClassVar[dict[str, float]] = {
        "MB": 2**20, "KB": 2**10, "GB": 2**30, "B": 1, "kB": 2**10, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
        "k": 2**10, "m": 2**20, "g": 2**30, "K": 2**10, "M": 2**20, "G": 2**30,
    }  # fmt: skip
    example: ClassVar[str] = "256MB"

    @property
    def bytes(self) -> int:
        return int(self.amount)


@dataclass(frozen=True, order=True)
class Rate(_Quantity):
    """Events in a second: "100/s"."""

    units: ClassVar[dict[str, float]] = {"/s": 1, "/m": 1 / 60, "/h": 1 / 3600}
    example: ClassVar[str] = "100/s"

    @property
    def per_second(self) -> float:
        return self.amount


@dataclass(frozen=True, order=True)
class Percent(_Quantity):
    """A share of the whole: "10%"; at most 100%."""

    units: ClassVar[dict[str, float]] = {"%": 1}
    example: ClassVar[str] = "10%"

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises: ValueError, with the mend in its text."""
        parsed = super().parse(text)
        if parsed.amount > 100:
            raise ValueError(f'"{text}" is more than the whole; write at most "100%"')
        return parsed

    @property
    def fraction(self) -> float:
        return self.amount / 100


@dataclass(frozen=True, order=True)
class Bandwidth(_Quantity):
    """Bits in a second, counted in 1000s as networks are: "10mbit"."""

    units: ClassVar[dict[str, float]] = {
        "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9,
    }  # fmt: skip
    example: ClassVar[str] = "10mbit"

    @property
    def bits_per_second(self) -> float:
        return self.amount
