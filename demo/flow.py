"""The main job, end to end, step by step: people, sources, operators, consent, use, answers, log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from dataspace_sdk import Answered, Ask, Dataspace, Denied, Product

from connectors.compute import output_control
from demo import district, nhefs, products
from demo.city import City, civil_date, deliver, each, found, move_in, open_authorities, until
from demo.operators import BANK, RESEARCHER, license_operators, publish, table_of
from demo.people import Person, rule
from demo.programs import Programs

T = TypeVar("T")
ANSWERS = {"yes": "是", "no": "否", "unknown": "无法判断"}


@dataclass
class Outcome:
    """What the flow brought; becomes the summary line."""

    seconds: dict[str, float] = field(default_factory=dict)
    records: int = 0
    rules: dict[str, dict[str, list[Person]]] = field(default_factory=dict)
    """For each cohort product: who granted, refused, granted and withdrew."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each cohort product: granted (including those later withdrawn), refused, withdrawn."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    references: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    individual: dict[str, int] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    listed: dict[str, Product] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    applicants: list[tuple[Person, Ask]] = field(default_factory=list)


class Narrator:
    """Says in a line or two what happens, and measures how long it takes."""

    def __init__(self, outcome: Outcome, say: Callable[[str], None]) -> None:
        self.outcome = outcome
        self.say = say

    def step(self, name: str, text: str, act: Callable[[], T]) -> T:
        self.say(f"\n{text}")
        begun = time.monotonic()
        result = act()
        self.outcome.seconds[name] = round(time.monotonic() - begun, 2)
        self.say(f"   {self.outcome.seconds[name]:.1f} s")
        return result


def settle_city(tell: Narrator, programs: Programs, study: int = nhefs.PARTICIPANTS, port: int = 0) -> City:
    """Steps 1 and 2: everything runs, everybody has moved in, the authorities have delivered."""
    step, say = tell.step, tell.say

    def start() -> City:
        city = found(programs.settings, programs)
        programs.start("service", ["dataspace.cli", "serve", "--port", str(port)])
        open_authorities(city)
        return city

    city = step(
        "start", "1. 启动 Start: witness, broker, node, service, four simulated authorities - a process each.", start
    )
    say(
        "   The witness is run by the same operator here, so it protects against nothing; a real one is another office."
    )
    step(
        "move_in",
        "2. 开户与绑定 Clients make keys, open data spaces, and link the authorities that know them.\n"
        "   公开研究样本 (real, NHEFS): 研究参与者 0001 …; 示范区 (synthetic, 演示数据): invented residents.",
        lambda: move_in(city, study),
    )
    say(f"   {len(city.study)} research participants, {len(city.residents)} demonstration residents")
    accepted = step(
        "deliver", "3. 数据入库 The authorities seal and sign at the source, and deliver.", lambda: deliver(city)
    )
    tell.outcome.records = sum(accepted.values())
    say(f"   {tell.outcome.records} sealed records; the service can read none of them: {accepted}")
    return city


def open_shop(tell: Narrator, city: City) -> dict[str, Dataspace]:
    """Step 3 and 4: licensed operators, reviewed products."""

    def act() -> dict[str, Dataspace]:
        spaces = license_operators(city)
        listed = tell.outcome.listed
        listed["A"] = publish(city, spaces[RESEARCHER], products.blood_pressure(RESEARCHER, "nhefs"))
        listed["B"] = publish(city, spaces[RESEARCHER], products.weight_change(RESEARCHER, "nhefs"))
        listed["S1"] = publish(city, spaces[BANK], products.income_check(BANK))
        return spaces

    spaces = tell.step(
        "products", "4. 授权与产品 Two operators are licensed; three products reviewed, signed, listed.", act
    )
    for product in tell.outcome.listed.values():
        tell.say(f"   {product.manifest['sentence']['zh']}")
    return spaces


def cohorts(tell: Narrator, city: City, space: Dataspace) -> None:
    """Steps 5 to 8 for the research products: ask, answer by the fixed rule, withdraw, run, compare."""
    outcome = tell.outcome
    for name in ("A", "B"):
        product = outcome.listed[name]
        ask = tell.step(
            f"ask_{name}",
            f"5. 请求 Cohort {name}: the university asks everybody whom the rule names.",
            partial(space.ask, product),
        )
        outcome.asks[name] = ask
    tell.step(
        "consent",
        "6. 同意 Clients verify the questions and answer: 80 % grant, 15 % refuse, 5 % grant and withdraw.",
        lambda: each(city.study, answer_by_rule),
    )
    take_backup(city)
    for name in ("A", "B"):
        digest = outcome.listed[name].digest
        product_id = outcome.listed[name].product_id
        groups: dict[str, list[Person]] = {"grant": [], "refuse": [], "withdraw": []}
        for person in city.study:
            groups[rule(person.label, product_id)].append(person)
        outcome.rules[name] = groups
        leaving = groups["withdraw"]
        tell.step(
            f"withdraw_{name}",
            f"7. 撤回 {len(leaving)} people withdraw {name}: the broker destroys their grant keys, new epochs start.",
            partial(withdraw_all, leaving, digest),
        )
        say_counts(tell, name, groups)
    for name in ("A", "B"):
        run_cohort(tell, city, space, name)


def take_backup(city: City) -> None:
    """An ordinary backup of the service's database, as every operator makes one. It will fall into wrong hands."""
    target = city.settings.home / "backup" / "dataspace.db"
    target.parent.mkdir(exist_ok=True)
    with (
        closing(sqlite3.connect(city.settings.service_home / "dataspace.db", timeout=30)) as source,
        closing(sqlite3.connect(target)) as copied,
    ):
        source.backup(copied)


def answer_by_rule(person: Person) -> None:
    """Every open question, by the fixed rule; the grants have to be confirmed by the broker before this returns."""
    now = int(person.client.clock())
    for ask in person.verified_asks(now):
        if rule(person.label, ask.listed.product.content.product_id) == "refuse":
            person.client.refuse(ask.request.digest)
        else:
            person.grant(ask, now)


def withdraw_all(people: list[Person], product_digest: str) -> None:
    until(lambda: all(_state(person, product_digest) != "recorded" for person in people))
    for person in people:
        person.withdraw(product_digest)
        if _state(person, product_digest) != "withdrawn":
            raise RuntimeError("a withdrawal did not come through")


def _state(person: Person, product_digest: str) -> str:
    digest = person.grants[product_digest]
    return next(str(g["state"]) for g in person.client.grants() if g["grant_digest"] == digest)


def say_counts(tell: Narrator, name: str, groups: dict[str, list[Person]]) -> None:
    granted = len(groups["grant"]) + len(groups["withdraw"])
    counts = {"granted": granted, "refused": len(groups["refuse"]), "withdrawn": len(groups["withdraw"])}
    tell.outcome.counts[name] = counts
    tell.say(f"   {name}: {counts}")


def run_cohort(tell: Narrator, city: City, space: Dataspace, name: str) -> None:
    """Run, verify, and compare with the same aggregate of the source files over those whose grant was active."""
    outcome = tell.outcome
    ask = outcome.asks[name]
    until(lambda: all(_state(p, ask.product_digest) == "active" for p in outcome.rules[name]["grant"][-3:]))
    answered = tell.step(
        f"run_{name}",
        f"8. 计算 Cohort {name}: decision, log, attestation, broker, sandboxed SELECT, output control, SDK checks.",
        lambda: space.answer(ask),
    )
    outcome.tables[name] = table_of(answered)
    if isinstance(answered, Answered):
        outcome.evidence[name] = answered.evidence
        tell.say(
            f"   node {answered.evidence.node_class} ({answered.evidence.isolation}), log {answered.evidence.log_size}"
        )
    outcome.references[name] = reference(city, name, {p.label for p in outcome.rules[name]["grant"]})
    for cell in outcome.tables[name]:
        tell.say(
            "   "
            + "  ".join(f"{key}={'·' if value is None else value}" for key, value in cell.items() if key != "steps")
        )


def reference(city: City, name: str, labels: set[str]) -> list[dict[str, Any]]:
    """From the CSV files by pandas, through the same public output control; never seen before it."""
    folder = city.data / "files" / "study"
    manifest = products.blood_pressure(RESEARCHER) if name == "A" else products.weight_change(RESEARCHER)
    rows = nhefs.reference_rows_a(folder) if name == "A" else nhefs.reference_rows_b(folder)
    units = []
    for row in rows:
        if row["label"] in labels:
            unit = {"person": row["label"], **{key: value for key, value in row.items() if key != "label"}}
            if "quit" in unit:
                unit["smoking_group"] = "quit" if unit.pop("quit") else "other"
            units.append(unit)
    released = output_control.release(units, manifest["output"], [])
    if not isinstance(released, output_control.Released):
        raise RuntimeError(f"the reference was withheld: {released.reasons}")
    return [dict(cell) for cell in released.table["cells"]]


def max_difference(outcome: Outcome) -> int:
    """Largest difference of any number in any cell from the reference; a missing one counts as 10**9."""
    worst = 0
    for name, table in outcome.tables.items():
        for ours, theirs in zip(table, outcome.references[name], strict=True):
            for key in ours.keys() | theirs.keys():
                a, b = ours.get(key), theirs.get(key)
                numbers = isinstance(a, int) and isinstance(b, int)
                worst = max(worst, abs(a - b) if numbers else 0 if a == b else 10**9)  # type: ignore[operator]
    return worst


def individuals(tell: Narrator, city: City, bank: Dataspace) -> None:
    """S1: ten residents give the bank a handle, see their answer first, then decide."""
    outcome = tell.outcome
    if city.district is None:
        raise RuntimeError("the district has not been generated")
    names = [one.label for one in district.s1_applicants(city.district)]
    people = [next(p for p in city.residents if p.label == name) for name in names]
    counts = dict.fromkeys((*ANSWERS.values(), "refused", "withdrawn"), 0)

    def act() -> None:
        for number, person in enumerate(people):
            ask = bank.ask(outcome.listed["S1"], handle=person.client.new_handle(BANK))
            outcome.applicants.append((person, ask))
            shown = decide_alone(person, number)
            said = bank.answer(ask)
            if shown == "refused":
                counts["refused"] += 1
            elif isinstance(said, Denied):
                counts["withdrawn"] += 1
            elif isinstance(said, Answered) and said.answer is not None:
                if said.answer.answer != shown:
                    raise RuntimeError("the operator got another answer than the resident had seen")
                counts[ANSWERS[shown]] += 1

    tell.step(
        "individual",
        f"9. 个人产品 S1 灵活就业收入证明: {len(people)} residents see their answer first, then decide.",
        act,
    )
    outcome.individual = counts
    tell.say(f"   {counts}")


def decide_alone(person: Person, number: int) -> str:
    """Number 0 refuses, number 1 grants and withdraws, everybody else grants; answers what was shown, or "refused"."""
    now = int(person.client.clock())
    ask = person.verified_asks(now)[-1]
    shown = person.preview(ask, civil_date(now))
    if number == 0:
        person.client.refuse(ask.request.digest)
        return "refused"
    person.grant(ask, now, answer_shown=True)
    digest = ask.listed.product.digest
    until(lambda: _state(person, digest) == "active")
    if number == 1:
        person.withdraw(digest)
    return shown


def check_logs(tell: Narrator, city: City) -> int:
    """Residents' clients check completeness; answers how many entries they verified."""
    people = [*city.study[:20], *city.residents]

    def act() -> int:
        entries = each(people, lambda person: len(person.client.check_log()))
        for person in people:
            for grant in person.client.grants():
                withdrawn = grant["state"] == "withdrawn"
                if withdrawn and not person.client.destroyed(grant["grant_digest"], grant["broker_state"]):
                    raise RuntimeError("the broker has not confirmed a withdrawal")
        return sum(entries)

    total = tell.step("log", f"10. 查证 {len(people)} clients verify their log: complete, consistent, gapless.", act)
    tell.say(f"   {total} entries proven")
    return total
