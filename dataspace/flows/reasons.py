"""Sentences for every reason an operator can be given: the policy's, and those of broker, node, output control."""

from __future__ import annotations

from collections.abc import Sequence

import policies
from consent.decide import explain

_OTHERS = {
    "withdrawn_grant": ("同意已经撤回。", "The consent has been withdrawn."),
    "grant_pending": ("同意还没有生效。", "The consent has not taken effect yet."),
    "signature_invalid": ("签名不对,没有打开任何资料。", "A signature is wrong; nothing was opened."),
    "transplanted_record": (
        "有一条记录不属于这个人,没有得出答案。",
        "A record belongs to somebody else; there is no answer.",
    ),
    "all_cells_suppressed": (
        "人数太少,不能给出统计。",
        "Too few people for a table in which nobody can be recognised.",
    ),
    "release_differs_by_too_few": (
        "与上次的统计只差几个人,不能给出。",
        "The table would differ from an earlier one by a few people only.",
    ),
    "already_released": ("这个请求已经有答案。", "This request has its answer already."),
    "computation_failed": ("计算没有得出结果。", "The computation gave no result."),
    "computation_timeout": ("计算超时,没有得出结果。", "The computation took too long and gave no result."),
    "interrupted": ("计算被中断,可以再试。", "The run was interrupted; it may be tried again."),
}
_UNNAMED = (
    "检查没有通过,没有打开任何资料。",
    "A check of the broker or of the node did not hold; nothing was released.",
)


def sentences(codes: Sequence[str]) -> list[dict[str, str]]:
    """``[{"code", "zh", "en"}]`` for an operator, in the order given; an unnamed code gets a general one."""
    found = []
    for code in codes:
        if code in _OTHERS or code not in policies.reasons():
            zh, en = _OTHERS.get(code, _UNNAMED)
            found.append({"code": code, "zh": zh, "en": en})
        else:
            found += explain([code])
    return found
