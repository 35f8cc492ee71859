# METADATA
# title: Use of data
# description: |
#   The one decision: may this operator run this product on the records that these grants open?
#   Facts come verified; here they are only compared. What is not well formed falls to the default.
# schemas:
#   - input: schema.use_input
package pds.use

import data.pds.grant
import data.pds.licence
import data.pds.meter
import data.pds.node
import data.pds.product
import data.pds.shape

# METADATA
# title: Decision
# description: Outcome, reasons and ordered obligations of the run, and an answer for each grant.
# entrypoint: true
default decision := {
	"outcome": "default_deny",
	"reasons": ["malformed_input"],
	"obligations": [],
	"grants": {},
}

decision := {
	"outcome": outcome,
	"reasons": sort(reasons),
	"obligations": obligations,
	"grants": answers,
} if {
	shape.well_formed
}

run_reasons := ((licence.reasons | product.reasons) | node.reasons) | batch_reasons

batch_reasons contains "no_grants" if not any_grant

any_grant if count(input.grants) > 0

grant_checks := object.union_n([grant.checks, meter.checks, node.checks])

own_reasons[digest] := codes if {
	some permit in input.grants
	digest := permit.grant_digest
	codes := {code | some code, passed in grant_checks; not digest in passed}
}

passing contains digest if {
	some digest, codes in own_reasons
	count(codes) == 0
}

default outcome := "deny"

outcome := granted if {
	count(run_reasons) == 0
	count(passing) > 0
}

default granted := "conditional"

granted := "allow" if node.attested

reasons := run_reasons if count(run_reasons) > 0

reasons := set() if outcome != "deny"

reasons := {code | some codes in own_reasons; some code in codes} if {
	count(run_reasons) == 0
	outcome == "deny"
}

answers[digest] := {"outcome": outcome, "reasons": []} if {
	count(run_reasons) == 0
	some digest in passing
}

answers[digest] := {"outcome": "deny", "reasons": sort(codes | run_reasons)} if {
	some digest, codes in own_reasons
	count(codes | run_reasons) > 0
}

default obligations := []

obligations := kind_obligations[input.product.kind] if outcome == "allow"

obligations := array.concat(["attest_node"], kind_obligations[input.product.kind]) if outcome == "conditional"

kind_obligations := {
	"individual": ["meter_answer", "output_control", "notify_resident", "log_release"],
	"cohort": ["output_control", "log_release"],
}
