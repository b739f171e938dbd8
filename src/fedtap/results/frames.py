"""Tables as data frames of pandas, which is an optional part: nothing else of fedtap needs it. Not here: what stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> DataFrame:
    """Return a data frame with these columns, in this order, whatever rows there are; what a row lacks is missing.

    Raises
    ------
    UserError
        If pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise UserError(f"tables as data frames need the package pandas; run: {install('pandas')}") from error
    return DataFrame(list(rows), columns=list(columns))
