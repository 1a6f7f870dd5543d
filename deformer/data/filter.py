"""Filters: expressions over the columns of an index, such as "occlusion > 0.5 and side == 'left'".

A filter is parsed, never run as code. It knows comparisons, `and`, `or`, `not`, `in [...]` and
parentheses; a comparison with a null is false.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_COMPARE = {
    ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal,
}  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """An expression, and the columns that it may name."""

    where: str
    columns: list[str]
    read: Callable[[str], pa.ChunkedArray]
    """Name → the column, (N,)."""

    def evaluate(self) -> np.ndarray:
        """(N,) bool: the rows that pass. Raises `ValueError` that names what cannot be read."""
        try:
            tree = ast.parse(self.where.strip(), mode="eval")
        except (SyntaxError, ValueError) as error:
            raise self._refusal(f"cannot be read ({error})") from None
        return self._truth(tree.body)

    def _refusal(self, what: str) -> ValueError:
        return ValueError(
            f"filter {self.where!r}: {what}; it compares columns with values, such as "
            "occlusion > 0.5 and side == 'left'"
        )

    def _truth(self, node: ast.expr) -> np.ndarray:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return np.logical_and.reduce([self._truth(part) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return np.logical_or.reduce([self._truth(part) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return ~self._truth(part)
            case ast.Compare(left=left, ops=ops, comparators=others):
                terms = [self._value(term) for term in (left, *others)]
                pairs = zip(terms, ops, terms[1:], strict=False)
                return np.logical_and.reduce([self._compare(*pair) for pair in pairs])
            case ast.Name():
                column = self._value(node)
                if column.type == pa.bool_():
                    return column.to_numpy()
        raise self._refusal(f"{ast.unparse(node)!r} is neither true nor false")

    def _value(self, node: ast.expr):
        match node:
            case ast.Name(id=name):
                if name not in self.columns:
                    raise self._refusal(f"no column {name!r}, there are {', '.join(self.columns)}")
                return self.read(name)
            case ast.Constant(value=constant):
                return constant
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item) for item in items]
        raise self._refusal(f"cannot read {ast.unparse(node)!r}")

    def _compare(self, left, op: ast.cmpop, right) -> np.ndarray:
        try:  # arrow refuses to compare text with numbers
            if isinstance(op, ast.In | ast.NotIn) and isinstance(right, list):
                found = pc.is_in(left, value_set=pa.array(right, left.type))
                found = found if isinstance(op, ast.In) else pc.invert(found)
                return pc.and_(pc.is_valid(left), found).to_numpy()
            terms = _in_precision_of(right, left), _in_precision_of(left, right)
            return pc.fill_null(_COMPARE[type(op)](*terms), False).to_numpy()
        except (pa.ArrowException, TypeError, AttributeError, KeyError):
            raise self._refusal("a comparison needs a column and a value of its kind") from None


def _in_precision_of(column, term):
    """A number that is compared with a column of floats, in that column's precision: 0.3 equals a
    stored 0.3. Anything else is returned unchanged."""
    is_beside_floats = isinstance(column, pa.ChunkedArray) and pa.types.is_floating(column.type)
    return pa.scalar(term, column.type) if is_beside_floats and type(term) in (int, float) else term
