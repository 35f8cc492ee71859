package pds.licence_test

import data.pds.fixture_test as fixture
import data.pds.licence

against(members) := codes if {
	facts := fixture.with_part("licence", members)
	codes := licence.reasons with input as facts
}

test_valid_licence if against({}) == set()

test_other_operator if against({"operator_id": "operator-2"}) == {"licence_operator_mismatch"}

test_suspended if against({"status": "suspended"}) == {"licence_suspended"}

test_not_begun if against({"not_before": 1001}) == {"licence_not_yet_valid"}

test_ended if against({"not_after": 999}) == {"expired_licence"}

test_purpose if against({"purposes": ["research"]}) == {"licence_purpose"}

test_one_collection_missing if against({"collections": ["wages"]}) == {"licence_collection"}

test_nothing_known_denies if {
	codes := licence.reasons with input as {}
	count(codes) == 6
}
