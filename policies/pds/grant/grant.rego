# METADATA
# title: Grant rules
# description: The grant is active now, names this recipient, product and purpose, and covers every field read.
# schemas:
#   - input: schema.use_input
package pds.grant

import data.pds.product

# METADATA
# title: Checks of single grants
# description: |
#   For each reason code the digests of the grants that pass. A grant is denied for every code under which its
#   digest is missing, so that an undefined value denies.
checks := {
	"recipient_mismatch": names_recipient,
	"grant_product_mismatch": names_product,
	"purpose_not_granted": names_purpose,
	"withdrawn_grant": is_not_withdrawn,
	"grant_pending": is_not_pending,
	"grant_not_yet_valid": has_begun,
	"grant_expired": has_not_ended,
	"uses_exhausted": has_uses_left,
	"field_outside_grant": covers_elements,
	"separate_consent_missing": has_separate_consent,
	"guardian_consent_missing": has_guardian_consent,
}

names_recipient contains permit.grant_digest if {
	some permit in input.grants
	permit.recipient == input.request.operator_id
}

names_product contains permit.grant_digest if {
	some permit in input.grants
	permit.product_digest == input.request.product_digest
}

names_purpose contains permit.grant_digest if {
	some permit in input.grants
	permit.purpose == input.request.purpose
}

is_not_withdrawn contains permit.grant_digest if {
	some permit in input.grants
	permit.state in {"active", "pending", "expired"}
}

is_not_pending contains permit.grant_digest if {
	some permit in input.grants
	permit.state in {"active", "withdrawn", "expired"}
}

has_begun contains permit.grant_digest if {
	some permit in input.grants
	permit.not_before <= input.now
}

has_not_ended contains permit.grant_digest if {
	some permit in input.grants
	permit.state in {"active", "withdrawn", "pending"}
	input.now <= permit.not_after
}

has_uses_left contains permit.grant_digest if {
	some permit in input.grants
	permit.uses_left > 0
}

covers_elements contains permit.grant_digest if {
	some permit in input.grants
	covered := {[entry.collection, field] | some entry in permit.scope; some field in entry.fields}
	count(product.elements - covered) == 0
}

has_separate_consent contains permit.grant_digest if {
	some permit in input.grants
	needed := {name | some name in permit.sensitive} & product.collections
	given := {name | some name in permit.separate_consent}
	count(needed - given) == 0
}

has_guardian_consent contains permit.grant_digest if {
	some permit in input.grants
	permit.guardian_required == false
}

has_guardian_consent contains permit.grant_digest if {
	some permit in input.grants
	permit.guardian_granted == true
}
