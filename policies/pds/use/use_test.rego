package pds.use_test

import data.pds.fixture_test as fixture
import data.pds.use

individual_duties := ["meter_answer", "output_control", "notify_resident", "log_release"]

answer(facts) := result if {
	result := use.decision with input as facts
}

test_allow if {
	answer(fixture.facts) == {
		"outcome": "allow",
		"reasons": [],
		"obligations": individual_duties,
		"grants": {"grant-1": {"outcome": "allow", "reasons": []}},
	}
}

test_conditional_until_attested if {
	answer(fixture.with_part("node", {"class": "unattested"})) == {
		"outcome": "conditional",
		"reasons": [],
		"obligations": array.concat(["attest_node"], individual_duties),
		"grants": {"grant-1": {"outcome": "conditional", "reasons": []}},
	}
}

test_cohort_duties if {
	answer(fixture.with_part("product", {"kind": "cohort"})).obligations == ["output_control", "log_release"]
}

test_run_reason_denies_every_grant if {
	facts := object.union(fixture.with_permit({"state": "withdrawn"}), {"licence": {"status": "suspended"}})
	answer(facts) == {
		"outcome": "deny",
		"reasons": ["licence_suspended"],
		"obligations": [],
		"grants": {"grant-1": {"outcome": "deny", "reasons": ["licence_suspended", "withdrawn_grant"]}},
	}
}

test_one_grant_of_two if {
	second := object.union(fixture.permit, {"grant_digest": "grant-2", "uses_left": 0})
	answer(object.union(fixture.facts, {"grants": [fixture.permit, second]})) == {
		"outcome": "allow",
		"reasons": [],
		"obligations": individual_duties,
		"grants": {
			"grant-1": {"outcome": "allow", "reasons": []},
			"grant-2": {"outcome": "deny", "reasons": ["uses_exhausted"]},
		},
	}
}

test_no_grant_allowed if {
	answer(fixture.with_permit({"state": "withdrawn", "uses_left": 0})) == {
		"outcome": "deny",
		"reasons": ["uses_exhausted", "withdrawn_grant"],
		"obligations": [],
		"grants": {"grant-1": {"outcome": "deny", "reasons": ["uses_exhausted", "withdrawn_grant"]}},
	}
}

test_no_grants if {
	answer(object.union(fixture.facts, {"grants": []})) == {
		"outcome": "deny",
		"reasons": ["no_grants"],
		"obligations": [],
		"grants": {},
	}
}

test_default_deny if {
	answer(object.union(fixture.facts, {"now": "1000"})) == {
		"outcome": "default_deny",
		"reasons": ["malformed_input"],
		"obligations": [],
		"grants": {},
	}
}
