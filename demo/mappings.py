"""How the simulated authorities' CSV files become records. Apart, so that an authority loads no data library."""

from __future__ import annotations

from connectors.sources.csv_records import CsvColumn, CsvMapping

STUDY = {
    "health/vitals.csv": CsvMapping(
        collection="vitals",
        person_column="patient_no",
        columns=(
            CsvColumn("year", "measured_year", "int"),
            CsvColumn("systolic_mmhg", "sbp", "int"),
            CsvColumn("diastolic_mmhg", "dbp", "int"),
            CsvColumn("weight_kg", "weight", "decimal", scale=3),
        ),
    ),
    "health/smoking.csv": CsvMapping(
        collection="smoking",
        person_column="patient_no",
        columns=(
            CsvColumn("year", "observed_year", "int"),
            CsvColumn("quit", "quit", "bool", codes={"Y": True, "N": False}),
        ),
    ),
    "civil_affairs/demographics.csv": CsvMapping(
        collection="demographics",
        person_column="register_no",
        columns=(
            CsvColumn("year", "observed_year", "int"),
            CsvColumn("sex", "sex", "text", codes={"M": "male", "F": "female"}),
            CsvColumn("age", "age", "int"),
        ),
    ),
}

DISTRICT = {
    "tax/wages.csv": CsvMapping(
        collection="wages",
        person_column="纳税人编号",
        columns=(CsvColumn("所属月份", "month", "text"), CsvColumn("实发金额(元)", "net_amount", "decimal", scale=2)),
    ),
    "social_insurance/months.csv": CsvMapping(
        collection="social_insurance",
        person_column="参保编号",
        columns=(
            CsvColumn("所属月份", "month", "text"),
            CsvColumn("是否缴费", "paid", "bool", codes={"是": True, "否": False}),
        ),
    ),
    "civil_affairs/residence.csv": CsvMapping(
        collection="residence",
        person_column="登记编号",
        columns=(
            CsvColumn("区划代码", "district_code", "text"),
            CsvColumn("租赁备案", "lease_registered", "bool", codes={"是": True, "否": False}),
        ),
    ),
}
