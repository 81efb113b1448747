"""Every error of modelwire, shared by the client and the services.

A class *is* its (gRPC code, reason): raised deep in a service it arrives as the very same class, facts included, in the
user's program. The tree, with the built-in that each branch also is:

    ModelwireError
    ├── InvalidError (ValueError)         the request cannot be right: names, paths, digests, limits
    ├── NotFoundError (LookupError)       something named does not exist
    ├── StateError                        the request is right, but not now: drafts, receipts, aliases, types
    │   └── TypeMismatchError, NotAModelError (AssertionError)
    ├── TicketError (PermissionError)     missing, forged, expired, or for something else
    ├── CapacityError                     larger than announced, or no room left
    ├── DataDamagedError (OSError)        stored bytes are gone or changed
    ├── ServiceError                      the other side failed: unreachable, overloaded, at fault
    └── LocalError                        found by the client alone, never sent by a service
"""

from __future__ import annotations

from typing import ClassVar


class ModelwireError(Exception):
    """Is the root of every error that modelwire raises on purpose.

    Attributes:
        code: The gRPC status code's name.
        reason: The name in `modelwire.api.common.v1.ErrorReason`, or a name of the client's own.
        facts: What the error is about, by the names that the reason's comment in errors.proto lists.
    """

    code: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = ""

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = {key: str(value) for key, value in facts.items()}

    def __str__(self) -> str:
        return self.message


# ── The request cannot be right ───────────────────────────────────────────────────────────────────────────────────────


class InvalidError(ModelwireError, ValueError):
    """Says that a request cannot be right whatever the state of the store."""

    code = "INVALID_ARGUMENT"


class RequestInvalidError(InvalidError):
    """Says that a field is missing, malformed or out of range."""

    reason = "REQUEST_INVALID"


class RequestIdReusedError(InvalidError):
    """Says that a request id was used before with another body."""

    reason = "REQUEST_ID_REUSED"


class PageTokenInvalidError(InvalidError):
    """Says that a page token does not belong to this list."""

    reason = "PAGE_TOKEN_INVALID"


class MessageMalformedError(InvalidError):
    """Says that bytes do not parse as the declared message."""

    reason = "MESSAGE_MALFORMED"


class DigestMalformedError(InvalidError):
    """Says that a digest is not 32 bytes."""

    reason = "DIGEST_MALFORMED"


class ChunkCorruptedError(InvalidError):
    """Says that a chunk does not hash to the digest sent with it."""

    reason = "CHUNK_CORRUPTED"


class ChunkTooLargeError(InvalidError):
    """Says that a chunk is larger than the announced limit."""

    reason = "CHUNK_TOO_LARGE"


class ChunkEmptyError(InvalidError):
    """Says that a chunk has no bytes."""

    reason = "CHUNK_EMPTY"


class ChunkSizeMismatchError(InvalidError):
    """Says that a recipe gives a chunk another size than the stored one."""

    reason = "CHUNK_SIZE_MISMATCH"


class BlobTooLargeError(InvalidError):
    """Says that a blob is larger than the announced limit."""

    reason = "BLOB_TOO_LARGE"


class NameInvalidError(InvalidError):
    """Says that a name breaks the rule for its kind."""

    reason = "NAME_INVALID"


class ReferenceInvalidError(InvalidError):
    """Says that a reference does not follow the grammar."""

    reason = "REFERENCE_INVALID"


class MetadataInvalidError(InvalidError):
    """Says that metadata, config or summary is not a JSON object within the limits."""

    reason = "METADATA_INVALID"


class PathInvalidError(InvalidError):
    """Says that a manifest path is absolute, empty, escaping or not portable."""

    reason = "PATH_INVALID"


class PathConflictError(InvalidError):
    """Says that two manifest paths cannot both exist on every file system."""

    reason = "PATH_CONFLICT"


class ManifestInvalidError(InvalidError):
    """Says that a manifest has no entry, too many, or one without content."""

    reason = "MANIFEST_INVALID"


class ManifestDigestMismatchError(InvalidError):
    """Says that entries do not hash to the manifest digest sent with them."""

    reason = "MANIFEST_DIGEST_MISMATCH"


class ReceiptInvalidError(InvalidError):
    """Says that a receipt was not signed by the blob service for this domain."""

    reason = "RECEIPT_INVALID"


class RangeInvalidError(InvalidError):
    """Says that a range reaches beyond its blob."""

    code = "OUT_OF_RANGE"
    reason = "RANGE_INVALID"


# ── Something named does not exist ────────────────────────────────────────────────────────────────────────────────────


class NotFoundError(ModelwireError, LookupError):
    """Says which of the things named does not exist; fact `similar` lists close names."""

    code = "NOT_FOUND"


class EntityNotFoundError(NotFoundError):
    """Says that there is no such entity."""

    reason = "ENTITY_NOT_FOUND"


class ProjectNotFoundError(NotFoundError):
    """Says that the entity has no such project."""

    reason = "PROJECT_NOT_FOUND"


class RunNotFoundError(NotFoundError):
    """Says that the project has no such run."""

    reason = "RUN_NOT_FOUND"


class ArtifactNotFoundError(NotFoundError):
    """Says that the project has no such artifact."""

    reason = "ARTIFACT_NOT_FOUND"


class VersionNotFoundError(NotFoundError):
    """Says that the collection has no such version number."""

    reason = "VERSION_NOT_FOUND"


class AliasNotFoundError(NotFoundError):
    """Says that no version of the collection has this alias."""

    reason = "ALIAS_NOT_FOUND"


class RegisteredModelNotFoundError(NotFoundError):
    """Says that the registry has no such registered model."""

    reason = "REGISTERED_MODEL_NOT_FOUND"


class EntryNotFoundError(NotFoundError, KeyError):
    """Says that the manifest has no such entry."""

    reason = "ENTRY_NOT_FOUND"


class DraftNotFoundError(NotFoundError):
    """Says that there is no such draft."""

    reason = "DRAFT_NOT_FOUND"


class BlobNotFoundError(NotFoundError):
    """Says that the domain has no such blob."""

    reason = "BLOB_NOT_FOUND"


class BundleNotFoundError(NotFoundError):
    """Says that the domain has no such bundle."""

    reason = "BUNDLE_NOT_FOUND"


# ── Right, but not now ────────────────────────────────────────────────────────────────────────────────────────────────


class StateError(ModelwireError):
    """Says that a request is right in itself but not in the present state."""

    code = "FAILED_PRECONDITION"


class ChunkMissingError(StateError):
    """Says that a recipe names a chunk that the domain lacks."""

    reason = "CHUNK_MISSING"


class RunExistsError(StateError):
    """Says that a run of this id exists and may not be taken up."""

    code = "ALREADY_EXISTS"
    reason = "RUN_EXISTS"


class RunEndedError(StateError):
    """Says that a run has ended, so that nothing more can be recorded under it."""

    reason = "RUN_ENDED"


class TypeMismatchError(StateError, AssertionError):
    """Says that an artifact exists with another type."""

    reason = "TYPE_MISMATCH"


class NotAModelError(StateError, AssertionError):
    """Says that a version's type does not hold the word "model"."""

    reason = "NOT_A_MODEL"


class AliasMovedError(StateError):
    """Says that an alias names another version than the caller expected."""

    reason = "ALIAS_MOVED"


class VersionHasAliasesError(StateError):
    """Says that a version cannot be deleted while it has aliases."""

    reason = "VERSION_HAS_ALIASES"


class VersionLinkedError(StateError):
    """Says that a version cannot be deleted while the registry links to it."""

    reason = "VERSION_LINKED"


class DraftClosedError(StateError):
    """Says that a draft was committed or has expired."""

    reason = "DRAFT_CLOSED"


class ReceiptExpiredError(StateError):
    """Says that a receipt's time is over."""

    reason = "RECEIPT_EXPIRED"


class ReceiptMismatchError(StateError):
    """Says that a receipt covers another bundle than the manifest's blobs."""

    reason = "RECEIPT_MISMATCH"


# ── Tickets ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class TicketError(ModelwireError, PermissionError):
    """Says that the caller's ticket does not open what was asked."""

    code = "UNAUTHENTICATED"


class TicketMissingError(TicketError):
    """Says that a call carries no ticket."""

    reason = "TICKET_MISSING"


class TicketInvalidError(TicketError):
    """Says that a ticket was not signed by the metadata service."""

    reason = "TICKET_INVALID"


class TicketExpiredError(TicketError):
    """Says that a ticket's time is over."""

    reason = "TICKET_EXPIRED"


class TicketScopeError(TicketError):
    """Says that a ticket is for something else."""

    code = "PERMISSION_DENIED"
    reason = "TICKET_SCOPE"


# ── Room, damage, the other side ──────────────────────────────────────────────────────────────────────────────────────


class CapacityError(ModelwireError):
    """Says that something is larger than announced, or that there is no room."""

    code = "RESOURCE_EXHAUSTED"


class BatchTooLargeError(CapacityError, ValueError):
    """Says that one call holds more than `GetCapabilities` announces."""

    reason = "BATCH_TOO_LARGE"


class StorageFullError(CapacityError, OSError):
    """Says that the store has no room for more bytes."""

    reason = "STORAGE_FULL"


class DataDamagedError(ModelwireError, OSError):
    """Says that stored bytes are gone or changed; facts name the blob."""

    code = "DATA_LOSS"
    reason = "DATA_DAMAGED"


class ServiceError(ModelwireError):
    """Says that the other side failed."""

    code = "INTERNAL"


class InternalFaultError(ServiceError):
    """Says that a service is at fault; its log names the same incident."""

    reason = "INTERNAL_FAULT"


class OverloadedError(ServiceError):
    """Says that a service has no room for another stream now."""

    code = "UNAVAILABLE"
    reason = "OVERLOADED"


class ServiceUnavailableError(ServiceError, ConnectionError):
    """Says that a service cannot be reached."""

    code = "UNAVAILABLE"
    reason = "SERVICE_UNAVAILABLE"


class CallTimeoutError(ServiceError, TimeoutError):
    """Says that a service did not answer in time."""

    code = "DEADLINE_EXCEEDED"
    reason = "CALL_TIMEOUT"


# ── Found by the client alone ─────────────────────────────────────────────────────────────────────────────────────────


class LocalError(ModelwireError):
    """Says that something is wrong on the client's side, before or after any call."""

    code = "UNKNOWN"


class ModelPathError(LocalError, ValueError):
    """Says that a path to log is neither a file, a folder nor a URI."""

    reason = "MODEL_PATH"


class TargetPathError(LocalError, AssertionError, ValueError):
    """Says that a registered model's name is written like a path."""

    reason = "TARGET_PATH"


class SourceChangedError(LocalError, OSError):
    """Says that a file changed while it was being read; nothing was committed."""

    reason = "SOURCE_CHANGED"


class NotLoggedError(LocalError):
    """Says that a handle does not know yet what only the server can tell; wait() first."""

    reason = "NOT_LOGGED"


class UsageError(LocalError, RuntimeError):
    """Says that calls came in an order that cannot work, such as logging before init."""

    reason = "USAGE"


class PathTakenError(LocalError, ValueError):
    """Says that a path of an artifact has other content already."""

    reason = "PATH_TAKEN"


class ContentChangedError(LocalError, ValueError):
    """Says that files on disk are not what a version holds."""

    reason = "CONTENT_CHANGED"


class ConfigLockedError(LocalError, ValueError):
    """Says that a value of a run's config is set already."""

    reason = "CONFIG_LOCKED"


class SettingsError(LocalError, ValueError):
    """Says that a setting has no usable value."""

    reason = "SETTINGS"


def _leaves(root: type[ModelwireError]) -> dict[str, type[ModelwireError]]:
    found = {root.reason: root} if root.reason else {}
    for child in root.__subclasses__():
        found |= _leaves(child)
    return found


BY_REASON: dict[str, type[ModelwireError]] = _leaves(ModelwireError)
"""Every class that stands for one reason, by that reason."""


def error_for(code: str, reason: str, message: str, facts: dict[str, str]) -> ModelwireError:
    """Makes the error that a service raised, from what came over the wire."""
    by_code: dict[str, type[ModelwireError]] = {
        "INVALID_ARGUMENT": InvalidError,
        "NOT_FOUND": NotFoundError,
        "FAILED_PRECONDITION": StateError,
        "ABORTED": StateError,
        "UNAUTHENTICATED": TicketError,
        "PERMISSION_DENIED": TicketError,
        "RESOURCE_EXHAUSTED": CapacityError,
        "UNAVAILABLE": ServiceUnavailableError,
        "DEADLINE_EXCEEDED": CallTimeoutError,
        "DATA_LOSS": DataDamagedError,
    }
    cls = BY_REASON.get(reason) or by_code.get(code, ServiceError)
    error = cls(message)
    error.facts = dict(facts)
    return error
