package pds.node_test

import data.pds.fixture_test as fixture
import data.pds.node

against(facts) := codes if {
	codes := node.reasons with input as facts
}

passes(facts) if {
	passed := node.checks.node_class_too_low with input as facts
	passed == {"grant-1"}
}

test_accepted_class if against(fixture.facts) == set()

test_class_not_accepted if {
	facts := fixture.with_part("node", {"class": "sgx"})
	against(facts) == {"node_class_not_accepted"}
}

test_production_refuses_sw_dev if {
	facts := object.union(fixture.facts, {
		"node": {"class": "sw-dev", "accepted_classes": ["sw-dev"]},
		"product": {"least_node_class": "sw-dev"},
	})
	against(facts) == {"node_class_not_accepted"}
}

test_development_accepts_sw_dev if {
	facts := object.union(fixture.facts, {
		"environment": "development",
		"node": {"class": "sw-dev", "accepted_classes": ["sw-dev"]},
		"product": {"least_node_class": "sw-dev"},
	})
	against(facts) == set()
}

test_class_below_product if {
	facts := fixture.with_part("product", {"least_node_class": "snp"})
	against(facts) == {"node_class_too_low"}
}

test_unknown_class_of_product if {
	facts := fixture.with_part("product", {"least_node_class": "enclave-9"})
	against(facts) == {"node_class_too_low"}
}

test_unknown_class_of_node if {
	facts := fixture.with_part("node", {"class": "enclave-9", "accepted_classes": ["enclave-9"]})
	against(facts) == {"node_class_too_low"}
}

test_grant_reached if passes(fixture.facts)

test_class_below_grant if not passes(fixture.with_permit({"least_node_class": "tdx"}))

test_unattested_is_judged_later if {
	facts := object.union(fixture.with_permit({"least_node_class": "tdx"}), {"node": {"class": "unattested"}})
	against(facts) == set()
	passes(facts)
}

test_unattested_never_reaches_an_unknown_class if {
	facts := object.union(fixture.with_permit({"least_node_class": "enclave-9"}), {"node": {"class": "unattested"}})
	not passes(facts)
}

test_attested if {
	not_yet := fixture.with_part("node", {"class": "unattested"})
	node.attested with input as fixture.facts
	not node.attested with input as not_yet
}
