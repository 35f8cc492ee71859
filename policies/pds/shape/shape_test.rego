package pds.shape_test

import data.pds.fixture_test as fixture
import data.pds.shape

fits(facts) if shape.well_formed with input as facts

patched(operation, path, value) := json.patch(fixture.facts, [{"op": operation, "path": path, "value": value}])

test_facts_fit if fits(fixture.facts)

test_no_grants_fit if fits(patched("replace", "/grants", []))

test_not_an_object if {
	every value in [null, true, 1, "facts", []] {
		not fits(value)
	}
}

test_every_member_is_needed if {
	every path in member_paths {
		not fits(json.patch(fixture.facts, [{"op": "remove", "path": path}]))
	}
}

test_no_member_is_null if {
	every path in member_paths {
		not fits(patched("replace", path, null))
	}
}

test_no_member_is_text_of_another_kind if {
	every path in member_paths - text_paths {
		not fits(patched("replace", path, "1000"))
	}
}

test_no_text_is_empty_or_a_number if {
	every path in text_paths {
		not fits(patched("replace", path, ""))
		not fits(patched("replace", path, 7))
	}
}

test_unknown_members if {
	every path in {"", "/request", "/licence", "/product", "/product/inputs/0", "/node", "/grants/0", "/grants/0/scope/0"} {
		not fits(patched("add", concat("/", [path, "extra"]), 1))
	}
}

test_integers_are_whole_and_small if {
	every value in [1.5, 9007199254740992, -9007199254740992, true, [], {}] {
		not fits(patched("replace", "/now", value))
	}
}

test_amounts_are_not_negative if {
	not fits(patched("replace", "/product/millibits", -1))
	not fits(patched("add", "/grants/0/spent_millibits/x", -1))
}

test_enumerations if {
	every path in enumeration_paths {
		not fits(patched("replace", path, "other"))
	}
}

test_version if not fits(patched("replace", "/v", 2))

test_lists_hold_texts if {
	every path in list_paths {
		not fits(patched("add", concat("", [path, "/-"]), 7))
		not fits(patched("add", concat("", [path, "/-"]), ""))
	}
}

test_lists_are_no_objects if {
	every path in list_paths {
		not fits(patched("replace", path, {"a": "text"}))
	}
	not fits(patched("replace", "/grants", {"a": fixture.permit}))
	not fits(patched("replace", "/product/inputs", {"a": fixture.facts.product.inputs[0]}))
	not fits(patched("replace", "/grants/0/scope", {"a": fixture.permit.scope[0]}))
	not fits(patched("replace", "/grants/0/spent_millibits", [0]))
}

test_product_reads_something if {
	not fits(patched("replace", "/product/inputs", []))
	not fits(patched("replace", "/product/inputs/0/fields", []))
}

test_a_grant_counts_once if not fits(patched("add", "/grants/-", fixture.permit))

member_paths contains concat("/", ["", name]) if some name, _ in fixture.facts

member_paths contains concat("/", ["", part, name]) if {
	some part in ["request", "licence", "product", "node"]
	some name, _ in fixture.facts[part]
}

member_paths contains concat("/", ["/grants/0", name]) if some name, _ in fixture.permit

member_paths contains concat("/", [entry, name]) if {
	some entry in ["/product/inputs/1", "/grants/0/scope/1"]
	some name in ["collection", "fields"]
}

text_paths := {path |
	some path in member_paths
	steps := split(path, "/")
	steps[count(steps) - 1] in text_names
}

text_names := {
	"operator_id", "product_digest", "purpose", "request_digest", "least_node_class", "class", "grant_digest", "subject",
	"recipient", "collection",
}

enumeration_paths := {
	"/environment", "/licence/status", "/product/kind", "/product/status", "/grants/0/mode", "/grants/0/state",
}

list_paths := {
	"/licence/purposes", "/licence/collections", "/product/inputs/0/fields", "/node/accepted_classes",
	"/grants/0/scope/0/fields", "/grants/0/separate_consent", "/grants/0/sensitive",
}
