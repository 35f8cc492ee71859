package pds.product_test

import data.pds.fixture_test as fixture
import data.pds.product

against(part, members) := codes if {
	facts := fixture.with_part(part, members)
	codes := product.reasons with input as facts
}

test_listed_product if against("product", {}) == set()

test_other_product if against("product", {"product_digest": "product-2"}) == {"product_mismatch"}

test_other_operator if against("product", {"operator_id": "operator-2"}) == {"product_operator_mismatch"}

test_withdrawn if against("product", {"status": "withdrawn"}) == {"product_not_listed"}

test_listing_not_begun if against("product", {"listing_not_before": 1001}) == {"product_not_listed"}

test_listing_ended if against("product", {"listing_not_after": 999}) == {"product_not_listed"}

test_other_purpose if against("request", {"purpose": "research"}) == {"request_purpose_mismatch"}

test_parameters_changed if against("request", {"parameters_match": false}) == {"parameters_changed"}

test_request_expired if against("request", {"not_after": 999}) == {"request_expired"}

test_elements if {
	pairs := product.elements with input as fixture.facts
	pairs == {["wages", "month"], ["wages", "amount"], ["vitals", "pulse"]}
}

test_collections if {
	names := product.collections with input as fixture.facts
	names == {"wages", "vitals"}
}
