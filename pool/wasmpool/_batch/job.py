"""What is done with each line, in a form that can be sent to another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, final

import attrs

from wasmpool import HttpPolicy, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Job"]


@final
@attrs.frozen(kw_only=True)
class Job:
    """What is done with each line. The module itself is sent apart, as it may be large."""

    file: str
    """The module's file, whose name is in messages and is that of a program; it is not read."""
    tool: str | None = None
    """The tool of a plugin; None for a program."""
    args: tuple[str, ...] = ()
    """All arguments of a program; its name comes first."""
    size: int
    """The most instances in each place."""
    tasks: int
    """The most calls at the same time in each place."""
    limits: Limits = attrs.field(factory=Limits)
    max_uses: int | None = None
    pristine: bool = False
    """True if each call of a plugin has an instance of its own, made from a snapshot."""
    http: HttpPolicy | None = None
    credentials: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    numbered: bool = False
    """True if each row has the number of its line."""
    retries: int = 0
    """How often a call is made again that failed for a reason of the world: `is_of_the_world`."""
    cache: str | None = None
    """A directory for compiled code, which this user alone can write to."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can express it."""
        fields = attrs.asdict(self)
        if self.http is not None and self.http.allow_hosts is not None:
            fields["http"]["allow_hosts"] = sorted(self.http.allow_hosts)
        return fields

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the job that `as_json` was called on."""
        http = fields["http"]
        return cls(
            **{
                **fields,
                "args": tuple(fields["args"]),
                "limits": Limits(**fields["limits"]),
                "http": None if http is None else HttpPolicy(**http),
            }
        )
