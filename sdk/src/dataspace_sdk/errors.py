"""Every refusal of the SDK: a class to catch, a stable ``code`` to rely on, and a sentence that people can act on."""

from __future__ import annotations


class DataspaceSdkError(Exception):
    """Root of all errors of this package."""

    code = "error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.code)
        self.detail = detail


class ConfigError(DataspaceSdkError):
    """Identity, trust or settings are not usable as given."""

    code = "config_invalid"


# formats


class MalformedError(DataspaceSdkError):
    """The bytes are not what the format asks for."""

    code = "malformed"


class NotCanonicalError(MalformedError):
    """Parsed, but not the one encoding that is allowed (RFC 8785)."""

    code = "not_canonical"


class UnknownFormatError(MalformedError):
    """A version or suite that this build does not know: refused, never guessed."""

    code = "unknown_format"


class SignatureInvalidError(DataspaceSdkError):
    """The signature, its type or its key is not the expected one."""

    code = "signature_invalid"


class ProofInvalidError(DataspaceSdkError):
    """An inclusion proof does not lead to the root."""

    code = "proof_invalid"


# talking to the service


class ServiceError(DataspaceSdkError):
    """What the service answered instead of an answer; ``code`` is its reason, ``status`` the HTTP status (0: none)."""

    code = "service_error"

    def __init__(self, detail: str = "", *, code: str | None = None, status: int = 0) -> None:
        if code is not None:
            self.code = code
        super().__init__(detail)
        self.status = status


class RefusedError(ServiceError):
    """The service refused (4xx); asking again without a change gets the same."""

    code = "refused"


class UnavailableError(ServiceError):
    """No answer, an answer outside the protocol, 429 or 5xx: nothing may be assumed, and it may be tried again."""

    code = "unavailable"


# asking


class ListingInvalidError(DataspaceSdkError):
    """The registrar has not listed this product like this."""

    code = "listing_invalid"


class ProductNotOwnError(DataspaceSdkError):
    """An operator asks with its own products only."""

    code = "product_not_own"


class AskInvalidError(DataspaceSdkError):
    """The question cannot be asked, or the stored ask is not one of this operator."""

    code = "ask_invalid"


# verifying an answer


class VerificationError(DataspaceSdkError):
    """The answer does not prove what it must. It must not be used; each subclass says what failed."""

    code = "verification_failed"


class AnswerMalformedError(VerificationError):
    """The answer has other parts than it should."""

    code = "answer_malformed"


class EarInvalidError(VerificationError):
    """The attestation result is not one by the pinned broker."""

    code = "ear_invalid"


class EarNotAffirmingError(VerificationError):
    """The broker does not affirm the node."""

    code = "ear_not_affirming"


class NodeClassRefusedError(VerificationError):
    """The node is of a class that is not accepted here."""

    code = "node_class_refused"


class EarRequestMismatchError(VerificationError):
    """The attestation result is about another request."""

    code = "ear_request_mismatch"


class EarTimeError(VerificationError):
    """The times of attestation and release do not fit together."""

    code = "ear_time_implausible"


class ReleaseInvalidError(VerificationError):
    """The release is not one by the pinned broker."""

    code = "release_invalid"


class ReleaseRequestMismatchError(VerificationError):
    """The release is of another request."""

    code = "release_request_mismatch"


class ReleaseResultMismatchError(VerificationError):
    """The release is of another sealed result."""

    code = "release_result_mismatch"


class ReleaseGrantsMismatchError(VerificationError):
    """The release is under other grants than the attested run."""

    code = "release_grants_mismatch"


class ReleaseNodeMismatchError(VerificationError):
    """The release is of another node than the attested one."""

    code = "release_node_mismatch"


class ReleaseRunMismatchError(VerificationError):
    """The release is of another run than the attested one."""

    code = "release_run_mismatch"


class CannotOpenError(VerificationError):
    """The sealed result does not open with this ask's key for this run and request. One error for every cause."""

    code = "cannot_open"


class ResultInvalidError(VerificationError):
    """The result is not one by the attested node."""

    code = "result_invalid"


class ResultRequestMismatchError(VerificationError):
    """The result is of another request."""

    code = "result_request_mismatch"


class ResultProductMismatchError(VerificationError):
    """The result is of another product, or of the other kind."""

    code = "result_product_mismatch"


class ResultRunMismatchError(VerificationError):
    """The result is of another run than the attested one."""

    code = "result_run_mismatch"


class LogEntryInvalidError(VerificationError):
    """A proof bundle, or the entry in it, is missing or not of the agreed form."""

    code = "log_entry_invalid"


class CheckpointInvalidError(VerificationError):
    """The checkpoint is not one of the pinned log, or a signature on it is false."""

    code = "checkpoint_invalid"


class CheckpointForkedError(VerificationError):
    """The two entries are shown under different checkpoints."""

    code = "checkpoint_forked"


class WitnessMissingError(VerificationError):
    """Fewer trusted witnesses than required have cosigned the checkpoint."""

    code = "witness_missing"


class EntryNotInLogError(VerificationError):
    """An entry is not proven to stand under the checkpoint."""

    code = "entry_not_in_log"


class DecisionMissingError(VerificationError):
    """The first entry is not the decision about a run."""

    code = "decision_missing"


class DecisionNotAllowError(VerificationError):
    """The decision is not to allow."""

    code = "decision_not_allow"


class DecisionRequestMismatchError(VerificationError):
    """The decision is about another request, product or operator."""

    code = "decision_request_mismatch"


class DecisionRunMismatchError(VerificationError):
    """The decision is about another run than the attested one."""

    code = "decision_run_mismatch"


class DecisionGrantsMismatchError(VerificationError):
    """The decision allows other grants than the attested run used."""

    code = "decision_grants_mismatch"


class DecisionPolicyMismatchError(VerificationError):
    """The decision was made under another policy than the one attested."""

    code = "decision_policy_mismatch"


class ReleasedMissingError(VerificationError):
    """The second entry is not the release of a result, or does not follow the first."""

    code = "released_missing"


class ReleasedRequestMismatchError(VerificationError):
    """The logged release is of another request."""

    code = "released_request_mismatch"


class ReleasedRunMismatchError(VerificationError):
    """The logged release is of another run than the attested one."""

    code = "released_run_mismatch"


class ReleasedResultMismatchError(VerificationError):
    """The logged release is of another sealed result."""

    code = "released_result_mismatch"


class ReleasedDecisionMismatchError(VerificationError):
    """The logged release points to another decision."""

    code = "released_decision_mismatch"
