# METADATA
# title: Licence rules
# description: The operator holds a licence that is valid now and covers the purpose and every collection read.
# schemas:
#   - input: schema.use_input
package pds.licence

# METADATA
# title: Reasons against the licence
# description: Each denies the whole run.
reasons contains "licence_operator_mismatch" if not operator_is_licensed

reasons contains "licence_suspended" if not licence_is_active

reasons contains "licence_not_yet_valid" if not licence_has_begun

reasons contains "expired_licence" if not licence_has_not_ended

reasons contains "licence_purpose" if not purpose_is_licensed

reasons contains "licence_collection" if not collections_are_licensed

operator_is_licensed if input.licence.operator_id == input.request.operator_id

licence_is_active if input.licence.status == "active"

licence_has_begun if input.licence.not_before <= input.now

# not_after is the last second that counts, here and in every other period.
licence_has_not_ended if input.now <= input.licence.not_after

purpose_is_licensed if input.request.purpose in input.licence.purposes

collections_are_licensed if {
	every entry in input.product.inputs {
		entry.collection in input.licence.collections
	}
}
