internal import Reasoning
internal import TensorCore

/// How safe an update is when it is acknowledged.
public enum Durability: String, Sendable, Hashable, CaseIterable {
    /// In this process's memory: lost with it, unless a checkpoint has saved the adapter.
    case none
    /// In the journal, as the operating system has it: survives the process (`kill -9`), not a power failure.
    case buffered
    /// In the journal, on the disk: survives a power failure. Updates that come at the same time share one `fsync`.
    case synced
}

/// The name that an application gives to one piece of feedback, by which it is never learned twice and can be forgotten.
///
/// 128 bits. Ids are compared within one user.
public struct FeedbackID: Sendable, Hashable, CustomStringConvertible {
    /// The first 64 bits.
    public let high: UInt64
    /// The last 64 bits.
    public let low: UInt64

    /// An id from its bits, for example those of a UUID.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An id from a name of any length: a hash of its bytes (XXH3, 128 bits). Anyone can construct two names with one id.
    public init(_ name: String) {
        (high, low) = Checksum.wide(Array(name.utf8))
    }

    /// An id from its ``description``; `nil` for anything else.
    public init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 32, digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// 32 hexadecimal digits.
    public var description: String { fixedHex(high) + fixedHex(low) }
}

/// One change of one user's adapter, as a journal keeps it.
public struct JournalEntry: Sendable, Hashable {
    /// Whose adapter changed.
    public var user: String
    /// The adapter's version after the change. The entries of a user are ordered by it.
    public var version: UInt64
    /// The application's name for the feedback, where it has given one.
    public var id: FeedbackID?
    /// When the change was made, in microseconds since 1970 (UTC).
    public var recordedAt: Int64
    /// What was done, in the engine's own coding (docs/formats.md). A journal keeps the bytes as they are.
    public var action: [UInt8]

    /// An entry.
    public init(user: String, version: UInt64, id: FeedbackID? = nil, recordedAt: Int64, action: [UInt8]) {
        self.user = user
        self.version = version
        self.id = id
        self.recordedAt = recordedAt
        self.action = action
    }
}

/// A user, and the version of their last entry.
public struct LastVersion: Sendable, Hashable {
    /// The user.
    public var user: String
    /// The adapter's version after the last entry.
    public var version: UInt64

    /// A user with a version.
    public init(user: String, version: UInt64) {
        self.user = user
        self.version = version
    }
}

/// What entries refer to by the hash of its bytes, so that it is kept once: a configuration, a prior or a catalogue of items.
public struct JournalContent: Sendable, Hashable {
    /// What it is.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// The settings by which adapters learn.
        case configuration = 0
        /// A product that adapters start from.
        case prior = 1
        /// The items that feedback refers to by their numbers.
        case catalogue = 2
    }

    /// What it is.
    public var kind: Kind
    /// Its name: a hash, unique within its kind.
    public var hash: UInt64
    /// The content.
    public var bytes: [UInt8]

    /// Content under its name.
    public init(kind: Kind, hash: UInt64, bytes: [UInt8]) {
        self.kind = kind
        self.hash = hash
        self.bytes = bytes
    }
}

/// What became of an entry that was to be appended.
public enum AppendOutcome: Sendable, Hashable {
    /// It is in the journal, as durably as was asked for.
    case appended
    /// An entry of this user with this id is there already: nothing was appended.
    case duplicate
    /// This user's entry with this id was forgotten: nothing was appended.
    case forgottenFeedback
    /// The user was forgotten and not readmitted since: nothing was appended.
    case forgottenUser
}

/// A durable, ordered log of what adapters learned; adapters are what its replay gives.
///
/// What every conformer promises:
/// - ``append(_:durability:position:)`` returns when the entry is as durable as was asked for, and throws with nothing appended
///   otherwise. Versions of a user's entries rise: one that does not is refused with ``EngineError`` (`staleVersion`). Cancelling
///   the task does not keep an entry from being appended.
/// - An entry and the position that it is appended with are kept together or not at all; positions stay whoever is forgotten.
/// - ``entries(of:after:)`` returns a user's entries, by version, as they were given.
/// - ``keep(_:)`` keeps content; the same again changes nothing; other bytes under the same name are refused.
/// - ``trim(_:)`` and ``rewrite(_:)`` are done whole or not at all.
/// - What ``recordDonors(_:of:)`` was told is known of a prior from then on. The prior becomes stale, for good, in the same change
///   that removes a donor who is forgotten, or feedback that a donor's merged adapter had learned.
/// - All may be called from many tasks at once.
public protocol FeedbackJournal: Sendable {
    /// Appends an entry.
    ///
    /// - Parameter position: How far a stream has been read with it: the stream's position from then on, also where it was further. With
    ///   another outcome than `appended` it counts only where it is further: what is there already, or of somebody forgotten, need
    ///   not be read again either.
    func append(
        _ entry: JournalEntry, durability: Durability, position: StreamPosition?
    ) async throws -> AppendOutcome
    /// Appends entries, at most one of each user; what became of each, in the same order. One's failure does not touch the others.
    func append(_ entries: [JournalEntry], durability: Durability) async -> [Result<AppendOutcome, any Error>]
    /// How far a stream has been read; 0 where nobody has said so.
    func position(in stream: String) async throws -> Int64
    /// Remembers how far a stream has been read.
    func record(_ position: StreamPosition, durability: Durability) async throws
    /// The entries of a user whose version is above `version`, all of them for `nil`, by version.
    func entries(of user: String, after version: UInt64?) async throws -> [JournalEntry]
    /// The users with entries, in ascending order of their ids' bytes.
    func journalledUsers() async throws -> [String]
    /// Gives the users with entries, ascending as above, some thousand at a time, each with the version of the last entry. Reads no
    /// entries, as far as it can. A user who gets a first entry meanwhile may be missing.
    func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws
    /// The users whose first entry was recorded before a moment, in ascending order of their ids' bytes: those whose entries a
    /// retention looks at. Reads no other entries, as far as it can.
    ///
    /// - Parameter moment: In microseconds since 1970 (UTC).
    func users(withFirstEntryBefore moment: Int64) async throws -> [String]
    /// The adapter that a user's entries begin from: there is one where the journal doesn't reach back to the beginning.
    func base(of user: String) async throws -> StoredAdapter?
    /// Keeps content that entries will refer to.
    func keep(_ content: JournalContent) async throws
    /// Content by its name.
    func content(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8]?
    /// Makes an adapter the base of its user's entries, and removes those up to its version. Their ids stay known: feedback that
    /// comes again is a duplicate. Of a user who was forgotten it is refused with ``EngineError`` (`forgottenUser`).
    func trim(_ base: StoredAdapter) async throws
    /// Replaces entries and the adapter of a user, who has all those that the rewriting names. Where one is removed, the priors become
    /// stale that were merged from the user's adapter of its version or a later one. From abandoned priors the user has started no
    /// more; the bytes of one that is stale go with the last user who has.
    func rewrite(_ rewriting: JournalRewriting) async throws
    /// Removes a user's entries and base, and what names them; a stale prior's bytes go with the last user who has started from it.
    /// The priors that were merged from a user who is forgotten are marked stale; of one who is not, it stays known that they were
    /// merged, with version 0, so that the user can be forgotten later.
    ///
    /// - Parameter isForgotten: Whether later entries of the user are refused, until ``readmit(_:)``.
    /// - Returns: How many entries were removed.
    func removeEntries(of user: String, isForgotten: Bool) async throws -> Int
    /// Makes sure that the bytes of what was removed are gone from where the journal is kept; throws when that cannot be done now.
    func erase() async throws
    /// Lets a forgotten user be known again; says whether the user was forgotten.
    func readmit(_ user: String) async throws -> Bool

    /// Records whose adapters a prior was merged from, by the hash of its bytes. Others that are known of it stay, and of the same
    /// user the highest version; a donor who was forgotten is not recorded, and makes the prior stale.
    func recordDonors(_ donors: [PriorDonor], of prior: UInt64) async throws
    /// Records that a user starts from a prior, also where its donors are not known yet; of a user who was forgotten, nothing.
    ///
    /// - Returns: Whether they may: `false` for a stale prior, and nothing is recorded then.
    func recordStart(of user: String, from prior: UInt64) async throws -> Bool
    /// The priors that were merged from a user's adapter, in ascending order of their hashes.
    func priors(from user: String) async throws -> [DerivedPrior]
    /// Whether a prior is stale: it contains what was forgotten.
    func isStale(_ prior: UInt64) async throws -> Bool
    /// The stale priors that users have started from, in ascending order of their hashes, with those users, ascending; they may have
    /// no adapter any more.
    func stalePriors() async throws -> [StalePrior]
}

extension FeedbackJournal {
    /// Appends an entry that no stream's position belongs to.
    public func append(_ entry: JournalEntry, durability: Durability) async throws -> AppendOutcome {
        try await append(entry, durability: durability, position: nil)
    }

    /// From the entries themselves, for a journal that has no cheaper way.
    public func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws {
        for user in try await journalledUsers() {
            if let last = try await entries(of: user, after: nil).last {
                try await body([LastVersion(user: user, version: last.version)])
            }
        }
    }

    /// One after another, for a journal that gains nothing by having them together.
    public func append(_ entries: [JournalEntry], durability: Durability) async -> [Result<AppendOutcome, any Error>] {
        var results: [Result<AppendOutcome, any Error>] = []
        for entry in entries {
            do {
                results.append(.success(try await append(entry, durability: durability)))
            } catch {
                results.append(.failure(error))
            }
        }
        return results
    }
}

/// How a user's entries change when something that their adapter contains is forgotten: a piece of their feedback, or what is in
/// the prior that they started from.
public struct JournalRewriting: Sendable {
    /// The entry whose feedback is forgotten, whole or a part of its batch; `nil` where none of the user's own is.
    public var removed: JournalEntry?
    /// What stands in the place of the entries of the same versions, the removed one's included; those keep their ids.
    public var replacements: [JournalEntry]
    /// The stale priors that the user's entries name no more.
    public var abandoned: [UInt64]
    /// Raises the version, so that no two states of an adapter share one.
    public var correction: JournalEntry
    /// The adapter that never saw what was forgotten.
    public var adapter: StoredAdapter

    /// Without a piece of feedback; all of one user.
    ///
    /// - Parameter replacement: What stands in the removed entry's place; `nil` for nothing.
    public init(
        removed: JournalEntry, replacement: JournalEntry?, correction: JournalEntry, adapter: StoredAdapter
    ) {
        self.removed = removed
        self.replacements = replacement.map { [$0] } ?? []
        abandoned = []
        self.correction = correction
        self.adapter = adapter
    }

    /// With other starts; all of one user.
    public init(
        replacements: [JournalEntry], abandoned: [UInt64], correction: JournalEntry, adapter: StoredAdapter
    ) {
        removed = nil
        self.replacements = replacements
        self.abandoned = abandoned
        self.correction = correction
        self.adapter = adapter
    }

    /// Whose entries they are.
    public var user: String { correction.user }

    /// The id that is refused from now on: the removed entry's, unless a part of its batch stays.
    public var forgottenID: FeedbackID? {
        guard let removed, let id = removed.id else { return nil }
        return replacements.contains { $0.version == removed.version && $0.id == id } ? nil : id
    }
}
