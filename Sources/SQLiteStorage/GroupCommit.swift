internal import CPageChecksums
internal import Personalization
internal import Reasoning
internal import TensorCore

/// Appends entries: those that come while others are being committed wait, and are committed together.
final class GroupCommit: Sendable {
    private struct Waiting {
        let entry: JournalEntry
        let durability: Durability
        let answer: Answer
    }

    /// Who is told what became of an entry.
    private enum Answer {
        case one(CheckedContinuation<AppendOutcome, any Error>)
        /// A batch, and the entry's place in it.
        case part(Batch, Int)

        func give(_ result: Result<AppendOutcome, any Error>) {
            switch self {
            case .one(let continuation): continuation.resume(with: result)
            case .part(let batch, let place): batch.give(result, place)
            }
        }
    }

    /// Entries that were given together, and are answered together.
    ///
    /// `@unchecked Sendable`: answers are given by whoever has the connection, one at a time.
    private final class Batch: @unchecked Sendable {
        private var results: [Result<AppendOutcome, any Error>]
        private var missing: Int
        private let continuation: CheckedContinuation<[Result<AppendOutcome, any Error>], Never>

        init(count: Int, _ continuation: CheckedContinuation<[Result<AppendOutcome, any Error>], Never>) {
            results = Array(repeating: .success(.appended), count: count)
            missing = count
            self.continuation = continuation
        }

        func give(_ result: Result<AppendOutcome, any Error>, _ place: Int) {
            results[place] = result
            missing -= 1
            if missing == 0 { continuation.resume(returning: results) }
        }
    }
    private struct State {
        var waiting: [Waiting] = []
        var isWorking = false
        /// How many the last group had.
        var lastGroup = 0
        /// Set when the storage was closed.
        var refusal: StorageError?
    }

    private let worker: Worker
    private let checkpoints: LogCheckpoints
    private let isReading: Bool
    private let health: WriteHealth
    private let state = Lock<State>(State())
    let users: UserTable

    init(
        worker: Worker, checkpoints: LogCheckpoints, project: Int64, key: DigestKey, isReading: Bool,
        health: WriteHealth
    ) {
        self.worker = worker
        self.checkpoints = checkpoints
        self.health = health
        self.isReading = isReading
        users = UserTable(project: project, key: key)
    }

    private static let largestGroup = 4096

    func append(_ entry: JournalEntry, _ durability: Durability, path: String) async throws -> AppendOutcome {
        if isReading { throw StorageError(.readOnly, "append", "it was opened for reading only", path: path) }
        return try await withCheckedThrowingContinuation { continuation in
            let (refusal, begins) = state.withLock { state -> (StorageError?, Bool) in
                if let refusal = state.refusal { return (refusal, false) }
                state.waiting.append(Waiting(entry: entry, durability: durability, answer: .one(continuation)))
                defer { state.isWorking = true }
                return (nil, !state.isWorking)
            }
            if let refusal { continuation.resume(throwing: refusal) }
            if begins { begin(durability, path) }
        }
    }

    /// The same for many.
    func append(_ entries: [JournalEntry], _ durability: Durability, path: String) async -> [Result<
        AppendOutcome, any Error
    >] {
        if entries.isEmpty { return [] }
        if isReading {
            let error = StorageError(.readOnly, "append", "it was opened for reading only", path: path)
            return Array(repeating: .failure(error), count: entries.count)
        }
        return await withCheckedContinuation { continuation in
            let batch = Batch(count: entries.count, continuation)
            let (refusal, begins) = state.withLock { state -> (StorageError?, Bool) in
                if let refusal = state.refusal { return (refusal, false) }
                for (i, entry) in entries.enumerated() {
                    state.waiting.append(Waiting(entry: entry, durability: durability, answer: .part(batch, i)))
                }
                defer { state.isWorking = true }
                return (nil, !state.isWorking)
            }
            if let refusal { for i in entries.indices { batch.give(.failure(refusal), i) } }
            if begins { begin(durability, path) }
        }
    }

    private func begin(_ durability: Durability, _ path: String) {
        if durability == .synced {
            worker.schedule { self.work($0, path) }
        } else {
            // Behind the tasks that are ready to run: those that append too are committed together with this one.
            Task.detached {
                if !self.worker.runNow({ self.serve($0, path) }) { self.worker.schedule { self.work($0, path) } }
            }
        }
    }

    /// Refuses what comes from now on; what came before is committed still.
    func close(path: String) {
        let closed = StorageError(.closed, "append", "the storage was closed: open it again", path: path)
        state.withLock { $0.refusal = closed }
        // Before the connection is closed, which is next in the queue: all of them, though they be more than one group.
        worker.schedule { connection in while self.answer(connection, path) {} }
    }

    /// After so long without an arrival nobody is waited for any more.
    private static let patience = Duration.microseconds(20)
    /// The longest that a group is waited for while others keep coming.
    private static let longestGathering = Duration.microseconds(300)

    /// Where several wait at a time, waits until no more come: those who were answered together come again one after another,
    /// and a transaction's own cost, many times that of an entry, is then shared by all of them. Who is alone waits for nobody.
    private func gather() {
        var (seen, isShared) = state.withLock { ($0.waiting.count, $0.lastGroup > 1 || $0.waiting.count > 1) }
        guard isShared else { return }
        let start = ContinuousClock.now
        var lastArrival = start
        while seen < Self.largestGroup {
            attune_short_wait(15_000)
            let now = ContinuousClock.now
            let count = state.withLock { $0.waiting.count }
            if count > seen { (seen, lastArrival) = (count, now) }
            if now - lastArrival > Self.patience || now - start > Self.longestGathering { return }
        }
    }

    /// On the worker's queue.
    private func work(_ connection: Connection?, _ path: String) {
        gather()
        if answer(connection, path) { worker.schedule { self.work($0, path) } }
        settleIfDue(connection)
        checkpoints.runIfDue(connection)
    }

    /// How long one who appends serves the others.
    private static let longestService = Duration.microseconds(500)

    /// On the thread of a task: commits, as long as others come, for a short time; what takes longer goes to the worker.
    private func serve(_ connection: Connection?, _ path: String) {
        let start = ContinuousClock.now
        while answer(connection, path) {
            let isForOthers = state.withLock { state in
                state.waiting.count >= 16 || state.waiting.contains { $0.durability == .synced }
            }
            guard isForOthers || ContinuousClock.now - start > Self.longestService else { continue }
            worker.schedule { self.work($0, path) }
            break
        }
        guard let connection else { return }
        checkpoints.begin(connection)
        guard connection.recent.isDue || checkpoints.isOverdue(connection) else { return }
        worker.schedule {
            self.settleIfDue($0)
            self.checkpoints.runIfDue($0)
        }
    }

    /// Commits those who wait; says whether others have come meanwhile, whom the caller must see to.
    private func answer(_ connection: Connection?, _ path: String) -> Bool {
        let group = state.withLock { state -> [Waiting] in
            state.lastGroup = state.waiting.count
            guard state.waiting.count > Self.largestGroup else {
                defer { state.waiting.removeAll(keepingCapacity: true) }
                return state.waiting
            }
            defer { state.waiting.removeFirst(Self.largestGroup) }
            return Array(state.waiting.prefix(Self.largestGroup))
        }
        if !group.isEmpty {
            let results = outcomes(group, connection, path)
            for (waiting, result) in zip(group, results) { waiting.answer.give(result) }
        }
        return state.withLock { state in
            state.isWorking = !state.waiting.isEmpty
            return state.isWorking
        }
    }

    /// What became of each of a group.
    private func outcomes(
        _ group: [Waiting], _ connection: Connection?, _ path: String
    ) -> [Result<AppendOutcome, any Error>] {
        do {
            try health.check("append")
            guard let connection else {
                throw StorageError(.closed, "append", "the storage was closed: open it again", path: path)
            }
            return try commit(group, connection)
        } catch {
            connection?.rollback()
            users.forgetAll()
            health.note(error)
            // A damaged page concerns those whose rows are on it; the others are committed without them.
            if group.count > 1, (error as? StorageError)?.code == .damaged {
                return group.flatMap { outcomes([$0], connection, path) }
            }
            return Array(repeating: .failure(error), count: group.count)
        }
    }

    /// Settles when there is enough. Those whose entries it concerns have their answer; where it fails the entries stay where
    /// they are, and it is tried again when as many have come.
    private func settleIfDue(_ connection: Connection?) {
        guard let connection, connection.recent.isDue else { return }
        do {
            try connection.transaction { try connection.recent.settle(connection) }
        } catch {
            health.note(error)
            users.forgetAll()
            connection.recent.dueCount += RecentEntries.most
        }
    }

    private func commit(
        _ group: [Waiting], _ connection: Connection
    ) throws -> [Result<AppendOutcome, any Error>] {
        try connection.setSynced(group.contains { $0.durability == .synced })
        return try connection.transaction {
            var results: [Result<AppendOutcome, any Error>] = []
            results.reserveCapacity(group.count)
            for waiting in group {
                do {
                    results.append(.success(try users.append(waiting.entry, connection)))
                } catch let error as EngineError {
                    // Of this entry alone: nothing of it was written.
                    results.append(.failure(error))
                }
            }
            return results
        }
    }
}

/// Whether a file may be written to.
///
/// After a write that failed half-way nobody knows what the operating system has kept of it: no more is written until the file was
/// opened again, which looks.
final class WriteHealth: Sendable {
    private let failure = Lock<StorageError?>(nil)

    func check(_ operation: String) throws(StorageError) {
        guard let failure = failure.withLock({ $0 }) else { return }
        throw StorageError(
            .closed, operation, "a write failed before (\(failure.message)): open the storage again", path: failure.path
        )
    }

    func note(_ error: any Error) {
        guard let error = error as? StorageError, error.code == .inputOutput else { return }
        failure.withLock { $0 = $0 ?? error }
    }
}

/// The users of a file as the connection that writes knows them. On its queue alone.
///
/// `@unchecked Sendable`: everything here is called on one serial queue.
final class UserTable: @unchecked Sendable {
    private final class Known {
        let ref: Int64
        var lastVersion: UInt64?

        init(ref: Int64, lastVersion: UInt64? = nil) {
            self.ref = ref
            self.lastVersion = lastVersion
        }
    }

    private let project: Int64
    private let key: DigestKey
    private var known: [UserKey: Known] = [:]

    init(project: Int64, key: DigestKey) {
        self.project = project
        self.key = key
    }

    /// So many users' numbers are kept at hand; 100 bytes each.
    private static let mostKnown = 200_000

    func forgetAll() { known.removeAll() }
    func forget(_ user: String) { known[UserKey(user)] = nil }

    func digest(_ user: String) -> Value {
        let digest = key.digest(of: user)
        var writer = ByteWriter(capacity: 16)
        writer.append(digest.high)
        writer.append(digest.low)
        return .bytes(writer.bytes)
    }

    /// The user's number; `nil` where there is none.
    func ref(_ user: String, _ connection: Connection) throws(StorageError) -> Int64? {
        if let known = known[UserKey(user)] { return known.ref }
        return try connection.integer(
            "SELECT ref FROM users WHERE project = ? AND id = ?", [.integer(project), .text(user)])
    }

    func isForgotten(_ user: String, _ connection: Connection) throws(StorageError) -> Bool {
        try connection.integer(
            "SELECT 1 FROM tombstones WHERE project = ? AND digest = ?", [.integer(project), digest(user)]) != nil
    }

    /// The user's number, made where there is none.
    func madeRef(_ user: String, _ connection: Connection) throws(StorageError) -> Int64 {
        if let ref = try ref(user, connection) { return ref }
        try connection.run("INSERT INTO users (project, id) VALUES (?, ?)", [.integer(project), .text(user)])
        return connection.lastInsertedRow
    }

    private func find(_ key: UserKey, _ connection: Connection) throws(StorageError) -> Known? {
        if let found = known[key] { return found }
        let found: Known
        if let ref = try ref(key.user, connection) {
            let journal = try connection.integer(
                "SELECT max(version) FROM journal WHERE user = ? HAVING max(version) IS NOT NULL", [.integer(ref)])
            let base = try connection.integer("SELECT version FROM bases WHERE user = ?", [.integer(ref)])
            // Versions rise: that of the last is the highest.
            let recent = try connection.recent.places(of: ref).last.flatMap { place throws(StorageError) in
                try connection.integer("SELECT version FROM recent WHERE seq = ?", [.integer(place)])
            }
            found = Known(
                ref: ref,
                lastVersion: [journal, base, recent].compactMap { $0 }.max().map { UInt64(bitPattern: $0) })
        } else {
            if try isForgotten(key.user, connection) { return nil }
            found = Known(ref: try madeRef(key.user, connection))
        }
        if known.count >= Self.mostKnown { known.removeAll() }
        known[key] = found
        return found
    }

    /// - Throws: ``EngineError`` (`staleVersion`), with nothing written; ``StorageError``.
    func append(_ entry: JournalEntry, _ connection: Connection) throws -> AppendOutcome {
        if connection.recent.isUnknown { try connection.recent.catchUp(connection) }
        let key = UserKey(entry.user)
        guard let user = try find(key, connection) else { return .forgottenUser }
        if let id = entry.id {
            if connection.recent.holds(id, of: user.ref) { return .duplicate }
            var found: AppendOutcome?
            try connection.run(
                "SELECT version FROM feedback_ids WHERE user = ? AND id = ?", [.integer(user.ref), id.value]
            ) { found = $0.isNull(0) ? .forgottenFeedback : .duplicate }
            if let found { return found }
        }
        if let last = user.lastVersion, entry.version <= last {
            throw EngineError(
                .staleVersion, "append", "version \(last) is in the journal, and \(entry.version) is not above it",
                user: entry.user)
        }
        try connection.recent.append(entry, of: user.ref, connection)
        user.lastVersion = entry.version
        return .appended
    }
}

extension FeedbackID {
    var value: Value {
        var writer = ByteWriter(capacity: 16)
        writer.append(high)
        writer.append(low)
        return .bytes(writer.bytes)
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard bytes.count == 16, let high: UInt64 = reader.take(), let low: UInt64 = reader.take() else { return nil }
        self.init(high: high, low: low)
    }
}

extension Connection {
    func insert(_ entry: JournalEntry, of user: Int64) throws(StorageError) {
        try run(
            "INSERT INTO journal (user, version, recorded_at, id, action) VALUES (?, ?, ?, ?, ?)",
            [
                .integer(user), .version(entry.version), .integer(entry.recordedAt), entry.id?.value ?? .null,
                .bytes(entry.action),
            ])
    }
}
