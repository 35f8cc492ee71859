# METADATA
# title: Answer meter
# description: |
#   Each answer tells something about every element that it was computed from, in thousandths of a bit. What
#   was told before and what this answer would tell stay together within the limit, for each element alone.
# schemas:
#   - input: schema.use_input
package pds.meter

import data.pds.product

# METADATA
# title: Checks of single grants
# description: For each reason code the digests of the grants that pass.
checks := {"answer_budget_exhausted": stays_within_limit}

# The product reveals nothing about a single resident, so that nothing is charged.
stays_within_limit contains permit.grant_digest if {
	input.product.millibits == 0
	some permit in input.grants
}

stays_within_limit contains permit.grant_digest if {
	some permit in input.grants
	every name in metered_elements {
		object.get(permit.spent_millibits, name, 0) <= most_spent_before
	}
}

metered_elements contains concat(".", element) if some element in product.elements

most_spent_before := input.product.meter_limit_millibits - input.product.millibits
