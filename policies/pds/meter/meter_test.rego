package pds.meter_test

import data.pds.fixture_test as fixture
import data.pds.meter

passes(facts) if {
	passed := meter.checks.answer_budget_exhausted with input as facts
	passed == {"grant-1"}
}

test_up_to_the_limit if passes(fixture.facts)

test_one_element_beyond if not passes(fixture.with_permit({"spent_millibits": {"vitals.pulse": 1001}}))

test_element_not_read_is_not_charged if passes(fixture.with_permit({"spent_millibits": {"wages.bonus": 9000}}))

test_answer_larger_than_the_limit if {
	not passes(object.union(fixture.with_permit({}), {"product": {"millibits": 2001}}))
}

test_cohort_is_not_charged if {
	facts := object.union(fixture.with_permit({"spent_millibits": {"vitals.pulse": 9000}}), {"product": {"millibits": 0}})
	passes(facts)
}
