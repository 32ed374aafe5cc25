"""What several parts of the schema say of a value."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Port = Annotated[int, Field(ge=0, le=65535)]
MIB = 1024 * 1024
