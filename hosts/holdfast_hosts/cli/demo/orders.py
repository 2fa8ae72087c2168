"""Reads the list of orders that the demo works off."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from holdfast.codec import from_json
from holdfast.errors import InvalidInput
from holdfast_hosts.cli.demo.workflow import Order
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean

#: Problems of an orders file that are named.
NAMED = 5


class Orders(BaseModel):
    """The file of orders."""

    #: How long everything takes: 1 is meant for watching, 0 is as fast as it goes.
    pace: float = Field(default=1.0, ge=0, le=10)
    orders: list[Order] = Field(min_length=1, max_length=200)


def read_orders(path: Path | None) -> Orders:
    """Return the orders in the file *path*, or the sample that comes with the package.

    Raises:
        InvalidInput: If the file does not hold orders.
        Told: If it cannot be read.
    """
    what = "sample orders" if path is None else f"orders in {clean(str(path))}"
    source = files("holdfast_hosts.cli.demo") / "orders.json" if path is None else path
    try:
        value = from_json(source.read_text(encoding="utf-8"), what=what)
        orders = Orders.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:NAMED]]
        raise InvalidInput(what, problems) from None
    except UnicodeDecodeError:
        raise InvalidInput(what, ["it is not UTF-8"]) from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise Told(
            Problem(
                code="E2002",
                what=f"The {what} cannot be read.",
                why=(f"{error.strerror}.",),
                fix=("Leave --orders out to use the sample.",),
                exit=Exit.NOT_FOUND if missing else Exit.USAGE,
            )
        ) from None
    ids = [order.id for order in orders.orders]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise InvalidInput(what, [f"order {one} is there more than once" for one in twice[:NAMED]])
    return orders
