internal import CPageChecksums
internal import CSQLite
internal import Reasoning
internal import TensorCore

/// Copies the log (`-wal`) into the file while updates go on.
///
/// SQLite's own way is to do it in the commit that makes the log too long, which then takes as long as the disk takes for all
/// pages. Here another connection copies, and commits go on at the end of the log; only where that comes to nothing, because
/// they never pause, one of them copies what is left.
final class LogCheckpoints: Sendable {
    /// After so many more pages they are copied in the background.
    private static let duePages = 4096
    /// From so many on nothing is appended while the rest is copied, right after the background has copied most of it: where
    /// nothing is left, the log begins anew. Without the background's help at twice as many.
    private static let mostPages = 16_384

    /// The connection that copies; none where the file is read alone.
    private let copier: Worker?
    private let writer: Worker
    private let health: WriteHealth
    private struct State {
        var isCopying = false
        /// The length of the log at which it is copied again.
        var next = LogCheckpoints.duePages
        /// The length at which whoever commits has to copy: more, where readers kept it from being copied before.
        var overdue = 2 * LogCheckpoints.mostPages
        /// Its length when it was looked at last: a shorter log has begun anew.
        var last = 0
    }
    private let state = Lock<State>(State())

    init(_ copier: Worker?, writer: Worker, health: WriteHealth) {
        self.copier = copier
        self.writer = writer
        self.health = health
    }

    /// Whether whoever commits has to copy, which waits for the disk.
    func isOverdue(_ connection: Connection) -> Bool {
        state.withLock { connection.logPages >= $0.overdue && !$0.isCopying }
    }

    /// Begins to copy in the background where there is enough. With the connection that writes, outside transactions.
    func begin(_ connection: Connection) {
        guard let copier else { return }
        let pages = connection.logPages
        let begins = state.withLock { state in
            if pages < state.last { (state.next, state.overdue) = (Self.duePages, 2 * Self.mostPages) }
            state.last = pages
            guard pages >= state.next, !state.isCopying else { return false }
            state.isCopying = true
            state.next = pages + Self.duePages
            return true
        }
        guard begins else { return }
        copier.schedule { connection in
            let isLong = self.copyInBackground(connection)
            self.state.withLock { $0.isCopying = false }
            if isLong {
                self.writer.schedule { connection in
                    if let connection { self.copy(connection) }
                }
            }
        }
    }

    /// On the queue of the connection that writes, outside transactions.
    func runIfDue(_ connection: Connection?) {
        guard let connection, copier != nil else { return }
        guard isOverdue(connection) else { return begin(connection) }
        copy(connection)
        let pages = connection.logPages
        state.withLock { state in
            state.overdue = pages + Self.duePages
            state.last = pages
        }
    }

    /// Copies what there is. A log that has to begin anew is copied again while that leaves much less: what came meanwhile is what a
    /// commit waits for.
    ///
    /// - Returns: Whether the log has to begin anew.
    private func copyInBackground(_ connection: Connection?) -> Bool {
        guard let connection else { return false }
        var left = Int.max
        while true {
            let copied = copy(connection)
            let pages = state.withLock { $0.last }
            if pages < Self.mostPages { return false }
            guard pages - copied < left / 2, pages - copied > Self.duePages / 8 else { return true }
            left = pages - copied
        }
    }

    /// Copies as far as readers allow, and waits for nobody.
    ///
    /// - Returns: How many pages of the log are in the file.
    @discardableResult
    private func copy(_ connection: Connection) -> Int {
        var copied = 0
        do {
            try connection.run("PRAGMA wal_checkpoint(PASSIVE)") { copied = Int($0.integer(2)) }
        } catch {
            health.note(error)
        }
        return copied
    }

    func close() async { await copier?.close() }
}

extension Connection {
    /// Copies all of the log into the file, and cuts it to nothing; waits two seconds for those who read. Outside transactions.
    ///
    /// - Returns: Whether the log is empty. While somebody reads what it has replaced, it isn't.
    func emptyLog() throws(StorageError) -> Bool {
        var isBusy = false
        try setSynced(true)
        // SQLite waits for readers, but not for another checkpoint: the one in the background takes a moment.
        let start = ContinuousClock.now
        repeat {
            if isBusy { attune_short_wait(5_000_000) }
            try run("PRAGMA wal_checkpoint(TRUNCATE)") { isBusy = $0.integer(0) != 0 }
        } while isBusy && .now - start < .seconds(2)
        return !isBusy
    }
}
