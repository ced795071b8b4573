public import LoRA
public import Reasoning
internal import TensorCore

/// The users of a store and a journal as donors, for a job that consolidates or forgets without an engine. No engine may write
/// meanwhile.
///
/// Their adapters are as they would be after a recovery: what the journal has beyond the saved ones is replayed.
public final class JournalDonors: DonorSource {
    private let store: any AdapterStore
    private let journal: any FeedbackJournal
    private let replayer: JournalReplayer
    private let users: [UserDigest: String]
    private let unread = Lock<Set<UserKey>>([])

    /// The users who are there now.
    ///
    /// - Parameter key: The secret under which the bank knows them.
    /// - Throws: What listing the users throws.
    /// - Complexity: O(users).
    public init(_ store: any AdapterStore, _ journal: any FeedbackJournal, key: DigestKey) async throws {
        self.store = store
        self.journal = journal
        replayer = JournalReplayer(journal)
        var users: [UserDigest: String] = [:]
        for user in try await store.users() + journal.journalledUsers() { users[key.digest(of: user)] = user }
        self.users = users
    }

    /// The users who were asked for and whose adapters are damaged, ascending: they gave nothing.
    public var damaged: [String] { unread.withLock { $0.sorted().map(\.user) } }

    /// The user's present adapter; `nil` where there is none, or where it is damaged: one user's damage keeps nobody else from giving.
    ///
    /// - Throws: ``EngineError`` (`numericsMismatch`); what the store and the journal throw that is no damage.
    public func adapter(of digest: UserDigest) async throws -> LoRAAdapter? {
        guard let user = users[digest] else { return nil }
        do {
            return try await adapter(of: user)
        } catch let error as any TellingDamage where error.tellsDamage {
            unread.withLock { _ = $0.insert(UserKey(user)) }
            return nil
        }
    }

    private func adapter(of user: String) async throws -> LoRAAdapter? {
        var adapter = try await store.load(user)?.adapter
        if adapter == nil { adapter = try await journal.base(of: user)?.adapter }
        let entries = try await journal.entries(of: user, after: adapter?.version)
        if entries.isEmpty { return adapter }
        return try await replayer.replay(entries[...], onto: adapter).adapter
    }
}
