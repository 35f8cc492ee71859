"""How much an answer tells: log2 of the number of possible outputs, "unknown" included, per data element and year."""

from __future__ import annotations

import math

from consent.model import Product

LIMIT_MILLIBITS = 2000
"""Default: 2 bits a year for each resident, operator and data element (DESIGN section 6)."""
PERIOD_SECONDS = 365 * 86_400


def millibits(product: Product) -> int:
    """Thousandths of a bit that one answer of an individual product tells; 0 for cohort tables (output control)."""
    if product.kind == "cohort":
        return 0
    outputs = {*product.output.get("answers", ()), "unknown"}
    return math.ceil(1000 * math.log2(len(outputs)))


def elements(product: Product) -> tuple[str, ...]:
    """``collection.field`` of everything the product reads."""
    return tuple(f"{item.collection}.{field}" for item in product.inputs for field in item.fields)
