internal import CPageChecksums
internal import Personalization
internal import Reasoning
internal import TensorCore

/// Appends entries: those that come while others are being committed wait, and are committed together.
final class GroupCommit: Sendable {
    private struct Waiting {
        let entry: JournalEntry
        let durability: Durability
        var position: StreamPosition?
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
    private let project: Int64
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
        (self.project, self.isReading) = (project, isReading)
        users = UserTable(project: project, key: key)
    }

    private static let largestGroup = 4096

    func append(
        _ entry: JournalEntry, _ durability: Durability, position: StreamPosition?, path: String
    ) async throws -> AppendOutcome {
        if isReading { throw StorageError(.readOnly, "append", "it was opened for reading only", path: path) }
        return try await withCheckedThrowingContinuation { continuation in
            let (refusal, begins) = state.withLock { state -> (StorageError?, Bool) in
                if let refusal = state.refusal { return (refusal, false) }
                state.waiting.append(
                    Waiting(
                        entry: entry, durability: durability, position: position, answer: .one(continuation)))
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

    /// On the thread of a task: commits, as long as others come, for a short time. What takes longer, or waits for another
    /// program or for the disk, goes to the worker: tasks have few threads.
    private func serve(_ connection: Connection?, _ path: String) {
        let start = ContinuousClock.now
        connection?.setPatient(false)
        defer { connection?.setPatient(true) }
        var isFirst = true
        while true {
            let isForWorker = state.withLock { state in
                (!isFirst && state.waiting.count >= 16) || state.waiting.contains { $0.durability == .synced }
            }
            let isLate = !isFirst && ContinuousClock.now - start > Self.longestService
            if isForWorker || isLate || connection?.recent.isUnknown ?? false {
                worker.schedule { self.work($0, path) }
                break
            }
            guard answer(connection, path, isPatient: false) else { break }
            isFirst = false
        }
        guard let connection else { return }
        checkpoints.begin(connection)
        guard connection.recent.isDue || checkpoints.isOverdue(connection) else { return }
        worker.schedule {
            self.settleIfDue($0)
            self.checkpoints.runIfDue($0)
        }
    }

    /// Commits those who wait; says whether somebody is left, whom the caller must see to: others have come meanwhile, or another
    /// program has the file and the caller does not wait for it.
    private func answer(_ connection: Connection?, _ path: String, isPatient: Bool = true) -> Bool {
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
            guard let results = outcomes(group, connection, path, isPatient: isPatient) else {
                state.withLock { $0.waiting.insert(contentsOf: group, at: 0) }
                return true
            }
            for (waiting, result) in zip(group, results) { waiting.answer.give(result) }
        }
        return state.withLock { state in
            state.isWorking = !state.waiting.isEmpty
            return state.isWorking
        }
    }

    /// What became of each of a group; `nil` where another program has the file and nobody is to wait for it.
    private func outcomes(
        _ group: [Waiting], _ connection: Connection?, _ path: String, isPatient: Bool = true
    ) -> [Result<AppendOutcome, any Error>]? {
        do {
            try health.check("append")
            guard let connection else {
                throw StorageError(.closed, "append", "the storage was closed: open it again", path: path)
            }
            return try commit(group, connection)
        } catch {
            connection?.rollback()
            users.forgetAll()
            if !isPatient, (error as? StorageError)?.code == .locked { return nil }
            health.note(error)
            // A damaged page concerns those whose rows are on it, as an entry's size does that entry; the others are committed.
            if group.count > 1, let error = error as? StorageError, [.damaged, .tooLarge].contains(error.code) {
                return group.flatMap { outcomes([$0], connection, path) ?? [] }
            }
            return Array(repeating: .failure(error), count: group.count)
        }
    }

    /// Settles when there is enough. Those whose entries it concerns have their answer; where it fails the entries stay where
    /// they are, and it is tried again when as many have come.
    private func settleIfDue(_ connection: Connection?) {
        guard let connection, connection.recent.isDue else { return }
        do {
            try health.check("settle")
            try connection.transaction { try connection.recent.settle(connection) }
        } catch {
            users.forgetAll()
            do {
                guard (error as? StorageError)?.code == .damaged else { throw error }
                try connection.recent.settleWhole(connection)
            } catch {
                health.note(error)
                connection.recent.dueCount += RecentEntries.most
            }
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
                    let outcome = try users.append(waiting.entry, connection)
                    if let position = waiting.position {
                        try connection.record(position, isForward: outcome != .appended, project)
                    }
                    results.append(.success(outcome))
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
