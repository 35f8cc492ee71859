# METADATA
# title: Shape of the input
# description: |
#   Types before comparisons: Rego orders values of different types instead of failing, so a string date
#   would pass as late. Missing, unknown and repeated members are refused here, once, for all other rules.
# schemas:
#   - input: schema.use_input
package pds.shape

# METADATA
# title: Well formed
# description: True if every member has its type and every grant its own digest.
well_formed if {
	is_object(input)
	object.keys(input) == {"v", "now", "environment", "request", "licence", "product", "node", "grants"}
	input.v == 1
	integer(input.now)
	input.environment in {"development", "production"}
	request_fits(input.request)
	licence_fits(input.licence)
	product_fits(input.product)
	node_fits(input.node)
	is_array(input.grants)
	every permit in input.grants {
		grant_fits(permit)
	}
	count({permit.grant_digest | some permit in input.grants}) == count(input.grants)
}

request_fits(value) if {
	is_object(value)
	object.keys(value) == {"operator_id", "product_digest", "purpose", "request_digest", "parameters_match", "not_after"}
	all_texts(value, ["operator_id", "product_digest", "purpose", "request_digest"])
	is_boolean(value.parameters_match)
	integer(value.not_after)
}

licence_fits(value) if {
	is_object(value)
	object.keys(value) == {"operator_id", "status", "not_before", "not_after", "purposes", "collections"}
	text(value.operator_id)
	value.status in {"active", "suspended"}
	all_integers(value, ["not_before", "not_after"])
	text_list(value.purposes)
	text_list(value.collections)
}

product_fits(value) if {
	is_object(value)
	object.keys(value) == {
		"product_digest", "operator_id", "kind", "status", "listing_not_before", "listing_not_after", "purpose",
		"inputs", "least_node_class", "millibits", "meter_limit_millibits",
	}
	all_texts(value, ["product_digest", "operator_id", "purpose", "least_node_class"])
	value.kind in {"individual", "cohort"}
	value.status in {"listed", "withdrawn"}
	all_integers(value, ["listing_not_before", "listing_not_after"])
	amount(value.millibits)
	amount(value.meter_limit_millibits)
	element_list(value.inputs)
	count(value.inputs) > 0
	every entry in value.inputs {
		count(entry.fields) > 0
	}
}

node_fits(value) if {
	is_object(value)
	object.keys(value) == {"class", "accepted_classes"}
	text(value.class)
	text_list(value.accepted_classes)
}

grant_fits(value) if {
	is_object(value)
	object.keys(value) == grant_members
	all_texts(value, ["grant_digest", "subject", "recipient", "product_digest", "purpose", "least_node_class"])
	value.mode in {"one_time", "ongoing"}
	value.state in {"active", "withdrawn", "pending", "expired"}
	all_integers(value, ["not_before", "not_after", "uses_left"])
	is_boolean(value.guardian_required)
	is_boolean(value.guardian_granted)
	element_list(value.scope)
	text_list(value.separate_consent)
	text_list(value.sensitive)
	amount_map(value.spent_millibits)
}

grant_members := {
	"grant_digest", "subject", "recipient", "product_digest", "purpose", "mode", "not_before", "not_after",
	"uses_left", "state", "scope", "separate_consent", "least_node_class", "sensitive", "spent_millibits",
	"guardian_required", "guardian_granted",
}

element_members := {"collection", "fields"}

all_texts(value, names) if {
	every name in names {
		is_string(value[name])
		value[name] != ""
	}
}

all_integers(value, names) if {
	every name in names {
		integer(value[name])
	}
}

text(value) if {
	is_string(value)
	value != ""
}

text_list(value) if {
	is_array(value)
	every entry in value {
		is_string(entry)
		entry != ""
	}
}

# Whole, and small enough that every engine holds it exactly.
integer(value) if {
	is_number(value)
	value == floor(value)
	abs(value) <= 9007199254740991
}

amount(value) if {
	integer(value)
	value >= 0
}

amount_map(value) if {
	is_object(value)
	every entry in value {
		amount(entry)
	}
}

element_list(value) if {
	is_array(value)
	every entry in value {
		is_object(entry)
		object.keys(entry) == element_members
		text(entry.collection)
		text_list(entry.fields)
	}
}
