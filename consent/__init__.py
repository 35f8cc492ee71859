"""What a resident allows: requests, grants, withdrawals, receipts, and the decision over them."""
