"""For licensed operators: ask residents of a personal data space, get authorised answers, verify their evidence.

:class:`Dataspace` (or :class:`AsyncDataspace`) talks to the service with an :class:`OperatorIdentity` and believes
nothing that the pinned :class:`Trust` does not prove.
"""

from dataspace_sdk import errors
from dataspace_sdk.client import AsyncDataspace, Dataspace
from dataspace_sdk.errors import DataspaceSdkError, RefusedError, ServiceError, UnavailableError, VerificationError
from dataspace_sdk.model import (
    Answered,
    Ask,
    Denied,
    Evidence,
    IndividualAnswer,
    Pending,
    Product,
    Reason,
    Table,
)
from dataspace_sdk.products import product_digest
from dataspace_sdk.trust import OperatorIdentity, Trust
from dataspace_sdk.verify import verify_answer

__all__ = [
    "Answered",
    "Ask",
    "AsyncDataspace",
    "Dataspace",
    "DataspaceSdkError",
    "Denied",
    "Evidence",
    "IndividualAnswer",
    "OperatorIdentity",
    "Pending",
    "Product",
    "Reason",
    "RefusedError",
    "ServiceError",
    "Table",
    "Trust",
    "UnavailableError",
    "VerificationError",
    "errors",
    "product_digest",
    "verify_answer",
]
