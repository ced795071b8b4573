public import LoRA
public import Reasoning
internal import TensorCore

/// An adapter as a store keeps it.
public struct StoredAdapter: Sendable {
    /// Whose it is.
    public var user: String
    /// The model that made the embeddings it learned with.
    public var embeddingModel: String
    /// The adapter with all its state.
    public var adapter: LoRAAdapter
    /// Whether a journal holds every change that the adapter has come from. A store that is the journal as well begins the
    /// user's entries anew from an adapter that was not.
    public var isJournalled: Bool

    /// A record.
    public init(user: String, embeddingModel: String, adapter: LoRAAdapter, isJournalled: Bool = false) {
        self.isJournalled = isJournalled
        self.user = user
        self.embeddingModel = embeddingModel
        self.adapter = adapter
    }
}

/// Where adapters are kept beyond the engine's memory.
///
/// What every conformer promises:
/// - ``load(_:)`` returns exactly what the last completed ``save(_:)`` of that user was given, or `nil`.
/// - ``save(_:)`` stores all or nothing, and never replaces an adapter by one of a lower version: it throws
///   ``EngineError`` (`staleVersion`) then.
/// - ``remove(_:)`` makes ``load(_:)`` return `nil`, and says whether anything was there.
/// - ``users()`` lists each user with an adapter once, in ascending order of their ids' bytes (UTF-8), which is that of their
///   Unicode scalars.
/// - ``savedVersions(of:)`` says in the same order which version of each user is there.
/// - Ids are bytes: two strings that Swift calls equal because they look alike ("é" composed and decomposed) are two users.
/// - All may be called from many tasks at once.
public protocol AdapterStore: Sendable {
    /// The user's adapter, if there is one.
    func load(_ user: String) async throws -> StoredAdapter?
    /// Stores adapters, replacing older versions.
    func save(_ adapters: [StoredAdapter]) async throws
    /// Removes a user's adapter; says whether there was one.
    func remove(_ user: String) async throws -> Bool
    /// The users with an adapter, ascending.
    func users() async throws -> [String]
    /// The versions of users' adapters, in the same order; `nil` where there is none, or none that can be read. Reads no
    /// adapter, as far as it can: a recovery asks it of everybody.
    func savedVersions(of users: [String]) async throws -> [UInt64?]
    /// The secret under which the store hashes users' ids, if it keeps one: an engine that was given none takes it, so that a bank
    /// knows users again after a restart.
    var digestKey: DigestKey? { get }
}

extension AdapterStore {
    /// None.
    public var digestKey: DigestKey? { nil }

    /// From the adapters themselves, for a store that has no cheaper way.
    public func savedVersions(of users: [String]) async throws -> [UInt64?] {
        var versions: [UInt64?] = []
        for user in users { versions.append(try await load(user)?.adapter.version) }
        return versions
    }
}

/// A store that is the journal as well, and looks at both at once.
package protocol JournallingStore: AdapterStore, FeedbackJournal {
    /// The user's adapter and the entries that it has not seen; where none is stored, the base of the entries and all that follow.
    func loadWithEntries(_ user: String) async throws -> (record: StoredAdapter?, entries: [JournalEntry])
}

/// A store in memory: for tests, examples and engines that need not outlive their process.
public final class InMemoryAdapterStore: AdapterStore {
    private let records = Lock<[UserKey: StoredAdapter]>([:])

    /// An empty store.
    public init() {}

    /// The user's adapter, if there is one.
    public func load(_ user: String) async throws -> StoredAdapter? { records.withLock { $0[UserKey(user)] } }

    /// Stores adapters, replacing older versions.
    ///
    /// - Throws: ``EngineError`` (`staleVersion`) when a newer version is there; nothing is stored then.
    public func save(_ adapters: [StoredAdapter]) async throws {
        try records.withLock { records throws(EngineError) in
            var next: [UserKey: StoredAdapter] = [:]
            for record in adapters {
                let key = UserKey(record.user)
                if let held = next[key] ?? records[key], held.adapter.version > record.adapter.version {
                    throw EngineError(
                        .staleVersion, "save",
                        "version \(held.adapter.version) is stored, newer than \(record.adapter.version)",
                        user: record.user)
                }
                next[key] = record
            }
            records.merge(next) { $1 }
        }
    }

    /// Removes a user's adapter; says whether there was one.
    public func remove(_ user: String) async throws -> Bool {
        records.withLock { $0.removeValue(forKey: UserKey(user)) != nil }
    }

    /// The users with an adapter, ascending.
    public func users() async throws -> [String] { records.withLock { $0.keys.sorted().map(\.user) } }

    /// The versions of users' adapters.
    public func savedVersions(of users: [String]) async throws -> [UInt64?] {
        records.withLock { records in users.map { records[UserKey($0)]?.adapter.version } }
    }
}
