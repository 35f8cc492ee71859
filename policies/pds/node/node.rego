# METADATA
# title: Node rules
# description: |
#   The node is of an accepted class, and of at least the class that product and grant ask for.
#   A node that has not been attested yet is judged after its attestation: the decision is conditional.
# schemas:
#   - input: schema.use_input
package pds.node

# METADATA
# title: Attested
# description: True if the node's class comes from an attestation result.
attested if input.node.class != "unattested"

# METADATA
# title: Reasons against the node
# description: Each denies the whole run.
reasons contains "node_class_not_accepted" if not class_is_accepted

reasons contains "node_class_too_low" if not class_reaches_product

# METADATA
# title: Checks of single grants
# description: For each reason code the digests of the grants that pass.
checks := {"node_class_too_low": reaches_class_of_grant}

reaches_class_of_grant contains permit.grant_digest if {
	some permit in input.grants
	permit.least_node_class in reached_classes
}

class_is_accepted if not attested

class_is_accepted if {
	input.node.class in input.node.accepted_classes
	class_suits_environment
}

class_suits_environment if input.environment == "development"

class_suits_environment if input.node.class != "sw-dev"

class_reaches_product if input.product.least_node_class in reached_classes

# Before attestation every known class may still be reached.
reached_classes contains name if {
	some name, _ in rank
	not attested
}

reached_classes contains name if {
	some name, least in rank
	rank[input.node.class] >= least
}

# A class without a rank reaches nothing and is reached by nothing.
rank := {"sw-dev": 1, "tpm": 2, "csv": 3, "snp": 3, "tdx": 3, "sgx": 3, "cca": 3}
