internal import LoRA
internal import Reasoning
internal import TensorCore

/// How much may stand in the journal alone before adapters are saved: what a restart has to replay.
public struct CheckpointPolicy: Sendable, Hashable {
    /// The most updates of one user: bounds how long a first read after a restart takes.
    public var updatesPerUser: Int
    /// The most updates of all users together: bounds how long ``PersonalizationEngine/recover(progress:)`` takes.
    public var updates: Int
    /// The most bytes of all entries together.
    public var bytes: Int
    /// The longest that an update stands in the journal alone, looked at when updates come.
    public var age: Duration

    /// A policy. By default a first read replays at most 256 updates, and a whole recovery 200,000.
    public init(
        updatesPerUser: Int = 256, updates: Int = 200_000, bytes: Int = 256 << 20, age: Duration = .seconds(600)
    ) {
        self.updatesPerUser = updatesPerUser
        self.updates = updates
        self.bytes = bytes
        self.age = age
    }
}

/// How long a journal keeps entries that a checkpoint has made superfluous for recovery.
public enum JournalRetention: Sendable, Hashable {
    /// For ever: any piece of feedback can be forgotten exactly.
    case all
    /// For so many days of 24 hours, at least 1: older entries are removed at checkpoints, at the first and then once an hour, or
    /// by ``PersonalizationEngine/applyRetention()``. A single piece of feedback can be forgotten as long as its entry is there;
    /// after that only users. Ids stay known.
    case days(Int)
    /// Until the adapter is saved: single pieces of feedback cannot be forgotten, only users.
    case untilCheckpoint
}

/// The adapter that readers see while the next one is on its way to the journal.
final class PendingCommit: Sendable {
    let adapter: LoRAAdapter?
    let wasUnsaved: Bool

    init(_ adapter: LoRAAdapter?, wasUnsaved: Bool) {
        self.adapter = adapter
        self.wasUnsaved = wasUnsaved
    }
}

/// What a change of an adapter leaves for the journal.
struct JournalDraft {
    var kind: JournalAction.Kind
    /// The adapter's version after it.
    var version: UInt64
    /// What it names.
    var contents: [JournalContent] = []
    var origin = FeedbackOrigin()
    /// About how many bytes it takes.
    var bytes: Int {
        if case .update(let update) = kind { return update.feedback.count + 48 }
        return 16
    }
}

/// What is the engine's of its journal.
final class JournalHub: Sendable {
    let journal: any FeedbackJournal
    let durability: Durability
    let policy: CheckpointPolicy
    let retention: JournalRetention
    let replayer: JournalReplayer
    /// Passed by who merges and by who forgets, so that they never do it at the same time.
    let merging = FIFOGate()
    /// The name of the settings that updates are made with now.
    let configuration: JournalContent
    private let clock: any ReasoningClock
    private let kept = Lock<Set<UInt64>>([])
    /// With durability `none`: adapters that entries were replayed to, and that the store does not have.
    private let replayed = Lock<[UserKey: StoredAdapter]>([:])

    /// What stands in the journal alone.
    private struct Backlog {
        var updates = 0
        var bytes = 0
        var since: ContinuousClock.Instant?
        /// Users whose adapters are to be saved.
        var due: [UserKey] = []
        var isWorking = false
        var isWholeDue = false
    }
    private let backlog = Lock<Backlog>(Backlog())

    /// When old entries were looked for, by the clock that never runs backwards.
    private struct Retaining {
        var lastLook: Double?
        var isErasureDue = false
    }
    private let retaining = Lock<Retaining>(Retaining())

    init(
        _ journal: any FeedbackJournal, durability: Durability, policy: CheckpointPolicy, retention: JournalRetention,
        configuration: JournalConfiguration, clock: any ReasoningClock
    ) {
        self.journal = journal
        self.clock = clock
        self.durability = durability
        self.policy = policy
        self.retention = retention
        replayer = JournalReplayer(journal)
        let bytes = configuration.encoded()
        self.configuration = JournalContent(kind: .configuration, hash: Checksum.of(bytes[...]), bytes: bytes)
    }

    /// The entries and their bytes that stand in the journal alone since the last whole checkpoint.
    var unsaved: (updates: Int, bytes: Int) { backlog.withLock { ($0.updates, $0.bytes) } }

    /// Makes sure that the journal has what an entry names, then appends it.
    func append(_ draft: JournalDraft, of user: String) async throws -> AppendOutcome {
        try await keepContents(of: draft)
        return try await journal.append(
            entry(draft, user), durability: durability, position: draft.origin.position)
    }

    /// The same for changes of many users, each once.
    func append(_ drafts: [(draft: JournalDraft, user: String)]) async -> [Result<AppendOutcome, any Error>] {
        var results = [Result<AppendOutcome, any Error>](repeating: .success(.appended), count: drafts.count)
        var (entries, places): ([JournalEntry], [Int]) = ([], [])
        for (i, (draft, user)) in drafts.enumerated() {
            do {
                try await keepContents(of: draft)
                entries.append(entry(draft, user))
                places.append(i)
            } catch {
                // What one names concerns nobody else.
                results[i] = .failure(error)
            }
        }
        let outcomes = await journal.append(entries, durability: durability)
        for (place, outcome) in zip(places, outcomes) { results[place] = outcome }
        return results
    }

    private func keepContents(of draft: JournalDraft) async throws {
        for content in draft.contents { try await keep(content) }
        try await keep(configuration)
    }

    private func entry(_ draft: JournalDraft, _ user: String) -> JournalEntry {
        JournalEntry(
            user: user, version: draft.version, id: draft.origin.id, recordedAt: clock.now.microseconds,
            action: JournalAction(configuration: configuration.hash, kind: draft.kind).encoded())
    }

    private func keep(_ content: JournalContent) async throws {
        if has(content.hash) { return }
        try await journal.keep(content)
        kept.withLock { _ = $0.insert(content.hash) }
    }

    /// Whether content is known to be in the journal, so that its bytes need not be made.
    func has(_ hash: UInt64) -> Bool { kept.withLock { $0.contains(hash) } }

    /// Priors may be in the journal no more.
    func forgetStarts(_ hashes: [UInt64]) {
        kept.withLock { $0.subtract(hashes) }
        replayer.forgetStarts(hashes)
    }

    /// Counts an entry.
    ///
    /// - Parameter unsaved: The user's entries that stand in the journal alone.
    /// - Returns: Whether somebody has to begin saving.
    func note(_ key: UserKey, bytes: Int, unsaved: UInt32) -> Bool {
        backlog.withLock { backlog in
            backlog.updates += 1
            backlog.bytes += bytes
            if unsaved % UInt32(clamping: policy.updatesPerUser) == 0 { backlog.due.append(key) }
            if backlog.since == nil { backlog.since = .now }
            if backlog.updates >= policy.updates || backlog.bytes >= policy.bytes {
                backlog.isWholeDue = true
            } else if backlog.updates % 64 == 0, let since = backlog.since, .now - since >= policy.age {
                backlog.isWholeDue = true
            }
            guard backlog.isWholeDue || !backlog.due.isEmpty, !backlog.isWorking else { return false }
            backlog.isWorking = true
            return true
        }
    }

    enum Work {
        case everything
        case users([UserKey])
    }

    /// What to save next; `nil` when there is nothing, and nobody is at work then.
    func nextWork() -> Work? {
        backlog.withLock { backlog in
            if backlog.isWholeDue {
                backlog = Backlog()
                backlog.isWorking = true
                return .everything
            }
            if backlog.due.isEmpty {
                backlog.isWorking = false
                return nil
            }
            defer { backlog.due.removeAll(keepingCapacity: true) }
            return .users(backlog.due)
        }
    }

    /// Forgets what was counted: everything is being saved.
    func beginCheckpoint() {
        backlog.withLock { backlog in
            backlog.updates = 0
            backlog.bytes = 0
            backlog.since = nil
        }
    }

    // MARK: Without durability

    /// Notes an adapter that the journal's replay made. What is learned from then on is not in the journal, and a store that is the
    /// journal as well refuses an adapter that may have missed entries: it gets this one first.
    func keepReplayed(_ record: StoredAdapter) { replayed.withLock { $0[UserKey(record.user)] = record } }

    /// Those of the users whose adapters are to be saved.
    func replayed(before records: [StoredAdapter]) -> [UserKey: StoredAdapter] {
        replayed.withLock { replayed in
            if replayed.isEmpty { return [:] }
            return records.reduce(into: [:]) { $0[UserKey($1.user)] = replayed[UserKey($1.user)] }
        }
    }

    /// Lets go of them: the store has a later one, or memory none.
    func forgetReplayed(_ users: [String]) {
        replayed.withLock { replayed in
            if !replayed.isEmpty { for user in users { replayed[UserKey(user)] = nil } }
        }
    }

    // MARK: Retention

    /// The date, in microseconds since 1970 (UTC).
    var now: Int64 { clock.now.microseconds }

    /// The least time between two looks for old entries at checkpoints, in seconds.
    private static let leastTimeBetweenLooks = 3600.0

    /// Begins to look for old entries, unless that is not due.
    ///
    /// - Returns: Whether it begins.
    func beginRetention(evenIfNotDue: Bool) -> Bool {
        let uptime = clock.uptime
        return retaining.withLock { retaining in
            if !evenIfNotDue, let last = retaining.lastLook, uptime - last < Self.leastTimeBetweenLooks { return false }
            retaining.lastLook = uptime
            return true
        }
    }

    /// Lets the next checkpoint look for old entries.
    func retentionIsDue() { retaining.withLock { $0.lastLook = nil } }

    /// Whether the bytes of what a retention removed are still in the journal's file.
    var isErasureDue: Bool {
        get { retaining.withLock { $0.isErasureDue } }
        set { retaining.withLock { $0.isErasureDue = newValue } }
    }
}
