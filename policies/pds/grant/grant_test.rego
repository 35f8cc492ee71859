package pds.grant_test

import data.pds.fixture_test as fixture
import data.pds.grant

against(members) := codes if {
	facts := fixture.with_permit(members)
	passed := grant.checks with input as facts
	codes := {code | some code, digests in passed; not "grant-1" in digests}
}

test_good_grant if against({}) == set()

test_other_recipient if against({"recipient": "operator-2"}) == {"recipient_mismatch"}

test_other_product if against({"product_digest": "product-2"}) == {"grant_product_mismatch"}

test_other_purpose if against({"purpose": "research"}) == {"purpose_not_granted"}

test_withdrawn if against({"state": "withdrawn"}) == {"withdrawn_grant"}

test_pending if against({"state": "pending"}) == {"grant_pending"}

test_marked_expired if against({"state": "expired"}) == {"grant_expired"}

test_unknown_state_denies if against({"state": "?"}) == {"withdrawn_grant", "grant_pending", "grant_expired"}

test_not_begun if against({"not_before": 1001}) == {"grant_not_yet_valid"}

test_ended if against({"not_after": 999}) == {"grant_expired"}

test_no_uses_left if against({"uses_left": 0}) == {"uses_exhausted"}

test_overdrawn if against({"uses_left": -1}) == {"uses_exhausted"}

test_field_missing if {
	scope := [{"collection": "wages", "fields": ["amount"]}, {"collection": "vitals", "fields": ["pulse"]}]
	against({"scope": scope}) == {"field_outside_grant"}
}

test_collection_missing if {
	scope := [{"collection": "wages", "fields": ["amount", "month", "pulse"]}]
	against({"scope": scope}) == {"field_outside_grant"}
}

test_separate_consent_missing if against({"separate_consent": ["wages"]}) == {"separate_consent_missing"}

test_sensitive_but_not_read if against({"sensitive": ["diagnoses"], "separate_consent": []}) == set()

test_guardian_missing if against({"guardian_required": true}) == {"guardian_consent_missing"}

test_guardian_agreed if against({"guardian_required": true, "guardian_granted": true}) == set()
