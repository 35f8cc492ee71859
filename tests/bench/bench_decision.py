"""What a decision costs: ``decide()`` over the engine's own evaluation, and one batch of 1,000 grants.

Figures, never pass or fail. Both sides run in turns, so that a busy machine hits both.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import regorus

import policies
from consent.decide import Facts, decide, policy_input
from consent.engine.embedded import EmbeddedEngine
from tests.fakes.decisions import base, changed, facts_of

ROUNDS = 60


def _facts(grants: int) -> Facts:
    one = base()["grants"][0]
    return facts_of(changed({"/grants": [{**one, "grant_digest": f"grant-{n}"} for n in range(grants)]}))


def _bare(facts: Facts) -> Callable[[], str]:
    """The engine's own evaluation: input already parsed, answer left as text."""
    engine = regorus.Engine()
    for path, text in policies.modules().items():
        engine.add_policy(path, text)
    document = json.dumps(policy_input(facts))

    def evaluate() -> str:
        answer: str = engine.eval_rule_as_json("data.pds.use.decision")
        return answer

    def prepared() -> str:
        engine.set_input_json(document)
        started = time.perf_counter()
        evaluate()
        return f"{time.perf_counter() - started:.9f}"

    return prepared


def _compare(grants: int, rounds: int) -> tuple[float, float]:
    """Median seconds of ``decide()`` and of the bare evaluation."""
    facts = _facts(grants)
    engine, bare = EmbeddedEngine(), _bare(facts)
    whole, inner = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        decide(engine, facts)
        whole.append(time.perf_counter() - started)
        inner.append(float(bare()))
    return statistics.median(whole), statistics.median(inner)


def run() -> list[str]:
    ten, ten_bare = _compare(10, ROUNDS)
    many, many_bare = _compare(1000, 5)
    return [
        f"decision, 10 grants: {ten * 1e3:.2f} ms, the engine alone {ten_bare * 1e3:.2f} ms: x{ten / ten_bare:.2f} "
        "(target x1.5 or less)",
        f"decision, 1,000 grants in one batch: {many * 1e3:.0f} ms, the engine alone {many_bare * 1e3:.0f} ms: "
        f"x{many / many_bare:.2f}",
    ]


if __name__ == "__main__":
    print("\n".join(run()))
