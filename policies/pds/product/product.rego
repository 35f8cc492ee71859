# METADATA
# title: Product and request rules
# description: The request names a listed product of this operator, with its purpose and its parameters, in time.
# schemas:
#   - input: schema.use_input
package pds.product

# METADATA
# title: Reasons against product and request
# description: Each denies the whole run.
reasons contains "product_mismatch" if not product_is_requested

reasons contains "product_operator_mismatch" if not product_is_of_operator

reasons contains "product_not_listed" if not product_is_listed

reasons contains "request_purpose_mismatch" if not purpose_is_of_product

reasons contains "parameters_changed" if not parameters_match

reasons contains "request_expired" if not request_is_in_time

product_is_requested if input.product.product_digest == input.request.product_digest

product_is_of_operator if input.product.operator_id == input.request.operator_id

product_is_listed if {
	input.product.status == "listed"
	input.product.listing_not_before <= input.now
	input.now <= input.product.listing_not_after
}

purpose_is_of_product if input.product.purpose == input.request.purpose

parameters_match if input.request.parameters_match == true

request_is_in_time if input.now <= input.request.not_after

# METADATA
# title: Elements
# description: Every pair of collection and field that the product reads.
elements contains [entry.collection, field] if {
	some entry in input.product.inputs
	some field in entry.fields
}

# METADATA
# title: Collections
# description: Every collection that the product reads.
collections contains entry.collection if some entry in input.product.inputs
