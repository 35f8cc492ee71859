"""The demo district's data products: manifests as their operators sign them (payload of ``product``, docs/formats.md).

A and B run over the public research sample NHEFS (1,629 people aged 25 to 74 in 1971); S1 over demonstration wages.
Thresholds are illustrative and no bank's policy.
"""

from __future__ import annotations

import hashlib
from typing import Any

from dataspace.kernel.encoding import b64

RESEARCH = "AcademicResearch"
CREDIT = "CreditChecking"

_SEXES = ["female", "male"]

_PRESSURE_SELECT = """
WITH d AS (
  SELECT person, min(sex) AS sex, min(age - observed_year) AS offset_years
  FROM demographics GROUP BY person HAVING min(sex) = max(sex)
), v AS (
  SELECT person, max(sbp) AS sbp FROM vitals WHERE measured_year = 1982 GROUP BY person
)
SELECT d.person, d.sex, ((d.offset_years + 1982) // 10) * 10 AS age_band, v.sbp, v.sbp >= 140 AS high
FROM d JOIN v USING (person)
""".strip()

_WEIGHT_SELECT = """
WITH d AS (
  SELECT person, min(sex) AS sex, min(age - observed_year) AS offset_years
  FROM demographics GROUP BY person HAVING min(sex) = max(sex)
), w AS (
  SELECT person,
    max(CASE WHEN measured_year = 1971 THEN weight END) AS before,
    max(CASE WHEN measured_year = 1982 THEN weight END) AS after
  FROM vitals GROUP BY person
), s AS (
  SELECT person, CASE WHEN bool_and(quit) THEN 'quit' WHEN NOT bool_or(quit) THEN 'other' END AS smoking_group
  FROM smoking GROUP BY person
)
SELECT d.person, s.smoking_group, d.sex, ((d.offset_years + 1971) // 10) * 10 AS age_band,
  w.after - w.before AS weight_change
FROM d JOIN w USING (person) JOIN s USING (person)
""".strip()

# "no" only where no value of the missing months could make it "yes": amounts have no upper bound.
_INCOME_EXPRESSION = """
wages.filter(w, w.net_amount > 0).size() >= parameters.least_months
  && sum(wages.map(w, w.net_amount)) >= parameters.least_mean * window_months.size()
? "yes"
: wages.filter(w, w.net_amount > 0).size() + window_months.size() - wages.size() < parameters.least_months
  || (wages.size() == window_months.size()
    && sum(wages.map(w, w.net_amount)) < parameters.least_mean * window_months.size())
? "no"
: "unknown"
""".strip()


def blood_pressure(operator_id: str, space: str = "demo-district") -> dict[str, Any]:
    """A: mean systolic pressure and share of 140 or more, by sex and ten-year age band in 1982 (scenario S4)."""
    inputs = [_input("demographics", "sex", "age", "observed_year"), _input("vitals", "measured_year", "sbp")]
    measures = [
        _measure("mean_sbp", "mean", "sbp", [80, 240], "mmHg", ["vitals.sbp"]),
        _measure("share_high", "share", "high", [0, 1], "permille", ["vitals.sbp"]),
    ]
    return {
        **_cohort("blood-pressure", operator_id, space, inputs, _PRESSURE_SELECT),
        "name": {"zh": "血压与年龄性别统计", "en": "Blood pressure by sex and age"},
        "sentence": {
            "zh": "我同意把我的血压用于这项研究的统计,结果只有人数、平均值和比例,认不出我。",
            "en": "I agree that my blood pressure counts in this study's statistics. The result holds only "
            "rounded counts, means and shares of groups, in which I cannot be recognised.",
        },
        "output": _output({"sex": _SEXES, "age_band": [30, 40, 50, 60, 70, 80]}, measures),
    }


def weight_change(operator_id: str, space: str = "demo-district") -> dict[str, Any]:
    """B: mean weight change from 1971 to 1982 of those who quit smoking and of others, by sex and age band in 1971."""
    inputs = [
        _input("demographics", "sex", "age", "observed_year"),
        _input("vitals", "measured_year", "weight"),
        _input("smoking", "quit"),
    ]
    measures = [_measure("mean_change", "mean", "weight_change", [-30_000, 30_000], "gram", ["vitals.weight"])]
    groups = {"smoking_group": ["quit", "other"], "sex": _SEXES, "age_band": [20, 30, 40, 50, 60, 70]}
    return {
        **_cohort("weight-change", operator_id, space, inputs, _WEIGHT_SELECT),
        "name": {"zh": "戒烟与体重变化统计", "en": "Weight change after quitting smoking"},
        "sentence": {
            "zh": "我同意把我的体重和是否戒烟用于这项研究的统计,结果只有人数和平均变化,认不出我。",
            "en": "I agree that my weight and whether I quit smoking count in this study's statistics. The result "
            "holds only rounded counts and mean changes of groups, in which I cannot be recognised.",
        },
        "output": _output(groups, measures),
    }


def income_check(operator_id: str) -> dict[str, Any]:
    """S1: income in at least 9 of the last 12 complete months, and 6,000 yuan a month on average."""
    return {
        **_common("income-check", operator_id),
        "kind": "individual",
        "name": {"zh": "灵活就业收入证明", "en": "Proof of income for flexible work"},
        "sentence": {
            "zh": "我同意示范银行问一次:我近一年的收入是否达到贷款要求;它只得到“是”“否”或“无法判断”,看不到我的明细。",
            "en": "I agree that the demonstration bank asks once whether my income of the last year meets its loan "
            "requirement. It gets only “yes”, “no” or “cannot tell” and sees no details.",
        },
        "purpose": CREDIT,
        "inputs": [{**_input("wages", "month", "net_amount"), "window": {"field": "month", "months": 12}}],
        "computation": {
            "language": "cel",
            "text": _INCOME_EXPRESSION,
            "parameters": {"least_months": 9, "least_mean": 600_000},
        },
        "output": {"answers": ["yes", "no", "unknown"]},
        "grant": {"mode": "one_time", "days": 7, "uses": 1},
        "cohort": None,
    }


def average_wage(operator_id: str, space: str = "demo-district") -> dict[str, Any]:
    """Mean monthly wage of people with and without income: far too few people in the district for any cell."""
    select = (
        "SELECT person, CASE WHEN max(net_amount) > 0 THEN 'paid' ELSE 'unpaid' END AS status, "
        "max(net_amount) AS highest FROM wages GROUP BY person"
    )
    measures = [_measure("mean_highest", "mean", "highest", [0, 5_000_000], "fen", ["wages.net_amount"])]
    return {
        **_cohort("average-wage", operator_id, space, [_input("wages", "net_amount")], select),
        "name": {"zh": "最高月收入统计", "en": "Highest monthly wage"},
        "sentence": {
            "zh": "我同意把我的工资用于这项研究的统计,结果只有人数和平均值,认不出我。",
            "en": "I agree that my wages count in this study's statistics. The result holds only rounded counts "
            "and means of groups, in which I cannot be recognised.",
        },
        "output": _output({"status": ["paid", "unpaid"]}, measures),
    }


def _cohort(label: str, operator_id: str, space: str, inputs: list[dict[str, Any]], select: str) -> dict[str, Any]:
    return {
        **_common(label, operator_id),
        "kind": "cohort",
        "purpose": RESEARCH,
        "inputs": inputs,
        "computation": {"language": "sql", "text": select, "parameters": {}},
        "grant": {"mode": "ongoing", "days": 90, "uses": 3},
        "cohort": {"space": space, "collections": [one["collection"] for one in inputs]},
    }


def _common(label: str, operator_id: str) -> dict[str, Any]:
    product_id = b64(hashlib.sha256(f"demo product {label}".encode()).digest()[:16])
    return {"product_id": product_id, "version": 1, "operator_id": operator_id, "least_node_class": "sw-dev"}


def _input(collection: str, *fields: str) -> dict[str, Any]:
    return {"collection": collection, "schema_id": f"{collection}/1", "fields": list(fields), "window": None}


def _measure(name: str, aggregate: str, column: str, bounds: list[int], unit: str, fields: list[str]) -> dict[str, Any]:
    measure = {"name": name, "aggregate": aggregate, "column": column, "bounds": bounds}
    return {**measure, "unit": unit, "fields": fields}


def _output(groups: dict[str, Any], measures: list[dict[str, Any]]) -> dict[str, Any]:
    shape = {"by": list(groups), "values": groups, "count": "n", "measures": measures}
    return {**shape, "k": 10, "count_base": 5, "dominance_percent": 90}
