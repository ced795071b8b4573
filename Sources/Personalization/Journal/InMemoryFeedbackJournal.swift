internal import LoRA
internal import TensorCore

/// A journal in memory: for tests and examples. It is as durable as the process.
public final class InMemoryFeedbackJournal: FeedbackJournal {
    private struct User {
        var entries: [JournalEntry] = []
        var base: StoredAdapter?
        /// The ids of entries that were trimmed.
        var learned: Set<FeedbackID> = []
        var forgotten: Set<FeedbackID> = []
    }
    private struct Prior {
        /// The versions of the donors' adapters.
        var donors: [UserKey: UInt64] = [:]
        var starters: Set<UserKey> = []
        var isStale = false
    }
    private struct ContentKey: Hashable {
        let kind: JournalContent.Kind
        let hash: UInt64
    }
    private struct State {
        var users: [UserKey: User] = [:]
        var forgottenUsers: Set<UserKey> = []
        var contents: [ContentKey: [UInt8]] = [:]
        var priors: [UInt64: Prior] = [:]
        /// By streams' names, which are told apart by their bytes, as users are.
        var positions: [UserKey: Int64] = [:]

        /// A user's entries name a prior no more. What is stale goes with the last user who has started from it.
        mutating func abandon(_ prior: UInt64, _ user: UserKey) {
            priors[prior]?.starters.remove(user)
            guard let known = priors[prior], known.isStale, known.starters.isEmpty else { return }
            contents[ContentKey(kind: .prior, hash: prior)] = nil
            priors[prior]?.donors = [:]
        }

        mutating func markStale(from donor: UserKey, learnedAt version: UInt64) {
            for (hash, prior) in priors {
                if let merged = prior.donors[donor], merged >= version { priors[hash]?.isStale = true }
            }
        }
    }
    private let state = Lock<State>(State())

    /// An empty journal.
    public init() {}

    /// Appends an entry, with a position.
    public func append(
        _ entry: JournalEntry, durability: Durability, position: StreamPosition?
    ) async throws -> AppendOutcome {
        try state.withLock { state throws(EngineError) in
            let outcome = try Self.append(entry, &state)
            if let position {
                let key = UserKey(position.stream)
                let before = outcome == .appended ? nil : state.positions[key]
                state.positions[key] = max(before ?? position.sequence, position.sequence)
            }
            return outcome
        }
    }

    private static func append(_ entry: JournalEntry, _ state: inout State) throws(EngineError) -> AppendOutcome {
        let key = UserKey(entry.user)
        if state.forgottenUsers.contains(key) { return .forgottenUser }
        var user = state.users[key] ?? User()
        if let id = entry.id {
            if user.forgotten.contains(id) { return .forgottenFeedback }
            if user.learned.contains(id) || user.entries.contains(where: { $0.id == id }) { return .duplicate }
        }
        let last = max(user.entries.last?.version ?? 0, user.base?.adapter.version ?? 0)
        if !user.entries.isEmpty || user.base != nil, entry.version <= last {
            throw EngineError(
                .staleVersion, "append", "version \(last) is in the journal, and \(entry.version) is not above it",
                user: entry.user)
        }
        user.entries.append(entry)
        state.users[key] = user
        return .appended
    }

    /// How far a stream has been read.
    public func position(in stream: String) async throws -> Int64 {
        state.withLock { $0.positions[UserKey(stream)] ?? 0 }
    }

    /// Remembers how far a stream has been read.
    public func record(_ position: StreamPosition, durability: Durability) async throws {
        state.withLock { $0.positions[UserKey(position.stream)] = position.sequence }
    }

    /// The entries of a user above a version.
    public func entries(of user: String, after version: UInt64?) async throws -> [JournalEntry] {
        state.withLock { state in
            let entries = state.users[UserKey(user)]?.entries ?? []
            guard let version else { return entries }
            return entries.filter { $0.version > version }
        }
    }

    /// The users with entries, ascending.
    public func journalledUsers() async throws -> [String] {
        state.withLock { $0.users.filter { !$0.value.entries.isEmpty }.keys.sorted().map(\.user) }
    }

    /// The users with entries, all at a time, each with the version of the last.
    public func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws {
        let all = state.withLock { state in
            state.users.compactMap { key, user in user.entries.last.map { (key: key, version: $0.version) } }
        }
        try await body(all.sorted { $0.key < $1.key }.map { LastVersion(user: $0.key.user, version: $0.version) })
    }

    /// The users whose first entry was recorded before a moment, ascending.
    ///
    /// - Complexity: O(users).
    public func users(withFirstEntryBefore moment: Int64) async throws -> [String] {
        state.withLock { state in
            state.users.filter { $0.value.entries.first.map { $0.recordedAt < moment } ?? false }.keys.sorted()
                .map(\.user)
        }
    }

    /// The adapter that a user's entries begin from.
    public func base(of user: String) async throws -> StoredAdapter? {
        state.withLock { $0.users[UserKey(user)]?.base }
    }

    /// Keeps content.
    public func keep(_ content: JournalContent) async throws {
        try state.withLock { state throws(EngineError) in
            let key = ContentKey(kind: content.kind, hash: content.hash)
            if let held = state.contents[key], held != content.bytes {
                throw EngineError(.damagedJournal, "keep", "another \(content.kind) has the same hash")
            }
            state.contents[key] = content.bytes
        }
    }

    /// Content by its name.
    public func content(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8]? {
        state.withLock { $0.contents[ContentKey(kind: kind, hash: hash)] }
    }

    /// Makes an adapter the base of its user's entries, and removes those up to its version; their ids stay known.
    ///
    /// - Throws: ``EngineError`` (`forgottenUser`).
    public func trim(_ base: StoredAdapter) async throws {
        try state.withLock { state throws(EngineError) in
            if state.forgottenUsers.contains(UserKey(base.user)) { throw .forgotten(base.user, "trim") }
            var user = state.users[UserKey(base.user)] ?? User()
            user.base = base
            for entry in user.entries where entry.version <= base.adapter.version {
                if let id = entry.id { user.learned.insert(id) }
            }
            user.entries.removeAll { $0.version <= base.adapter.version }
            state.users[UserKey(base.user)] = user
        }
    }

    /// Replaces a user's entries after a piece of feedback was forgotten.
    public func rewrite(_ rewriting: JournalRewriting) async throws {
        try state.withLock { state throws(EngineError) in
            let key = UserKey(rewriting.user)
            guard var user = state.users[key] else { throw Self.notThere(rewriting) }
            func place(_ entry: JournalEntry) throws(EngineError) -> Int {
                guard let index = user.entries.firstIndex(where: { $0.version == entry.version }) else {
                    throw Self.notThere(rewriting)
                }
                return index
            }
            for entry in rewriting.replacements { user.entries[try place(entry)] = entry }
            if let removed = rewriting.removed {
                let index = try place(removed)
                if !rewriting.replacements.contains(where: { $0.version == removed.version }) {
                    user.entries.remove(at: index)
                }
            }
            if let id = rewriting.forgottenID { user.forgotten.insert(id) }
            user.entries.append(rewriting.correction)
            state.users[key] = user
            if let removed = rewriting.removed { state.markStale(from: key, learnedAt: removed.version) }
            for hash in rewriting.abandoned { state.abandon(hash, key) }
        }
    }

    private static func notThere(_ rewriting: JournalRewriting) -> EngineError {
        EngineError(.unknownFeedback, "rewrite", "the entry is not in the journal", user: rewriting.user)
    }

    /// Removes a user's entries and base.
    public func removeEntries(of user: String, isForgotten: Bool) async throws -> Int {
        state.withLock { state in
            let key = UserKey(user)
            if isForgotten {
                state.forgottenUsers.insert(key)
                state.markStale(from: key, learnedAt: 0)
            }
            for hash in Array(state.priors.keys) {
                if state.priors[hash]?.starters.contains(key) == true { state.abandon(hash, key) }
                guard state.priors[hash]?.donors[key] != nil else { continue }
                state.priors[hash]?.donors[key] = isForgotten ? nil : 0
            }
            return state.users.removeValue(forKey: key)?.entries.count ?? 0
        }
    }

    /// Nothing: what was removed is nowhere.
    public func erase() async throws {}

    /// Lets a forgotten user be known again.
    public func readmit(_ user: String) async throws -> Bool {
        state.withLock { $0.forgottenUsers.remove(UserKey(user)) != nil }
    }

    /// Records whose adapters a prior was merged from.
    public func recordDonors(_ donors: [PriorDonor], of prior: UInt64) async throws {
        state.withLock { state in
            var known = state.priors[prior] ?? Prior()
            for donor in donors {
                let key = UserKey(donor.user)
                if state.forgottenUsers.contains(key) {
                    known.isStale = true
                } else {
                    known.donors[key] = max(known.donors[key] ?? 0, donor.version)
                }
            }
            state.priors[prior] = known
        }
    }

    /// Records that a user starts from a prior, whose donors may become known later.
    public func recordStart(of user: String, from prior: UInt64) async throws -> Bool {
        state.withLock { state in
            if state.priors[prior]?.isStale == true { return false }
            let key = UserKey(user)
            if !state.forgottenUsers.contains(key) { state.priors[prior, default: Prior()].starters.insert(key) }
            return true
        }
    }

    /// The priors that were merged from a user's adapter.
    public func priors(from user: String) async throws -> [DerivedPrior] {
        state.withLock { state in
            state.priors.compactMap { hash, prior in
                prior.donors[UserKey(user)].map { version in
                    DerivedPrior(
                        hash: hash, version: version, isStale: prior.isStale,
                        starters: prior.starters.sorted().map(\.user))
                }
            }.sorted { $0.hash < $1.hash }
        }
    }

    /// Whether a prior is stale.
    public func isStale(_ prior: UInt64) async throws -> Bool {
        state.withLock { $0.priors[prior]?.isStale ?? false }
    }

    /// The stale priors that users have started from.
    public func stalePriors() async throws -> [StalePrior] {
        state.withLock { state in
            state.priors.filter { $0.value.isStale && !$0.value.starters.isEmpty }
                .map { StalePrior(hash: $0, users: $1.starters.sorted().map(\.user)) }
                .sorted { $0.hash < $1.hash }
        }
    }
}
