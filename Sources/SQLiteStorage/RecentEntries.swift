internal import Personalization

/// Where the latest entries stand, as one connection has seen them.
///
/// Entries are appended to the table `recent` in the order of their arrival: a group of them lies on one page or two, where in
/// the order of users each would lie on a page of its own, to be written and later copied. When there are many they are
/// *settled*: moved to the table `journal`, which keeps them by user, all at once and sorted, so that many go to one page there
/// too. One user's are settled alone where something is done with that user. Their numbers rise for ever, so that what was looked
/// at once need not be looked at again; a place that was looked at may be empty since.
final class RecentEntries {
    private struct ID: Hashable {
        let user: Int64
        let id: FeedbackID
    }

    /// So many entries, or bytes of them, are settled together where they come fast: the more, the more of one user go to one
    /// page. 400 ms, in which nothing is appended.
    static let most = 262_144
    static let mostBytes = 128 << 20
    /// So many where they come slowly, so that nobody waits for long: after at least so much time.
    static let few = 16_384
    static let slowInterval = Duration.seconds(10)

    /// Whether the connection writes: ids are looked at then, and numbers given.
    private let isWriting: Bool
    /// The last number that was looked at; `nil` before the first look.
    private var last: Int64?
    private var places: [Int64: [Int64]] = [:]
    private var ids: Set<ID> = []
    private(set) var count = 0
    private(set) var bytes = 0
    /// How many were settled alone since all were: readers know them still.
    private var settledAlone = 0
    /// Whether the present transaction has changed something here.
    private var isChanged = false
    private var lookedAt = 0
    private var lastSettled = ContinuousClock.now
    /// Where settling is tried next: after it has failed, not at once.
    var dueCount = most

    init(isWriting: Bool) { self.isWriting = isWriting }

    /// Whether nothing was looked at yet.
    var isUnknown: Bool { last == nil }
    var isDue: Bool {
        if count >= dueCount || settledAlone >= Self.most || (bytes >= Self.mostBytes && dueCount == Self.most) {
            return true
        }
        // The clock is not asked for every entry.
        guard count >= Self.few, dueCount == Self.most, count - lookedAt >= 1024 else { return false }
        lookedAt = count
        return .now - lastSettled >= Self.slowInterval
    }

    /// Where a user's entries were seen, ascending; those that were settled since are not there any more.
    func places(of user: Int64) -> [Int64] { places[user] ?? [] }
    func holds(_ id: FeedbackID, of user: Int64) -> Bool { ids.contains(ID(user: user, id: id)) }

    /// Looks again from the beginning next time, if a transaction was taken back that had changed something here.
    func takeBack() {
        guard isChanged else { return }
        last = nil
        clear()
        isChanged = false
    }

    /// What was changed stands.
    func keep() { isChanged = false }

    private func clear() {
        places.removeAll(keepingCapacity: true)
        ids.removeAll(keepingCapacity: true)
        count = 0
        bytes = 0
        settledAlone = 0
        lookedAt = 0
        lastSettled = .now
    }

    /// Looks at what has come since the last look; inside a transaction.
    func catchUp(_ connection: Connection) throws(StorageError) {
        let isFirst = isUnknown
        let settled = try connection.integer("SELECT value FROM positions WHERE name = 'settled'") ?? 0
        if last.map({ settled >= $0 }) ?? true {
            clear()
            last = settled
        }
        try connection.run(
            "SELECT seq, user, id, length(action) FROM recent WHERE seq > ? ORDER BY seq",
            [.integer(last ?? settled)]
        ) { row throws(StorageError) in
            note(
                row.integer(0), of: row.integer(1), row.isNull(2) ? nil : FeedbackID(row.bytes(2)),
                bytes: Int(row.integer(3)))
        }
        if isFirst, isWriting {
            let given = try connection.integer("SELECT value FROM positions WHERE name = 'given'") ?? 0
            last = max(last ?? 0, given)
        }
    }

    private func note(_ number: Int64, of user: Int64, _ id: FeedbackID?, bytes: Int) {
        last = number
        places[user, default: []].append(number)
        if isWriting, let id { ids.insert(ID(user: user, id: id)) }
        count += 1
        self.bytes += bytes
    }

    /// Appends an entry; in a transaction of the connection that writes.
    func append(_ entry: JournalEntry, of user: Int64, _ connection: Connection) throws(StorageError) {
        isChanged = true
        let (number, overflow) = (last ?? 0).addingReportingOverflow(1)
        guard !overflow, number > 0 else {
            throw StorageError(
                .damaged, "append", "an entry's number is none that Attune gives", path: connection.path)
        }
        try connection.run(
            "INSERT INTO recent (seq, user, version, recorded_at, action, id) VALUES (?, ?, ?, ?, ?, ?)",
            [
                .integer(number), .integer(user), .version(entry.version), .integer(entry.recordedAt),
                .bytes(entry.action), entry.id?.value ?? .null,
            ])
        note(number, of: user, entry.id, bytes: entry.action.count)
    }

    /// Moves all entries to where they are kept by user; in a transaction of the connection that writes.
    ///
    /// - Complexity: O(n · log n) for n entries.
    func settle(_ connection: Connection) throws(StorageError) {
        if isUnknown { try catchUp(connection) }
        guard count + settledAlone > 0, let last else { return }
        isChanged = true
        try connection.run(
            """
            INSERT INTO journal (user, version, recorded_at, id, action)
            SELECT user, version, recorded_at, id, action FROM recent ORDER BY user, version
            """)
        if !ids.isEmpty {
            try connection.run(
                """
                INSERT INTO feedback_ids (user, id, version)
                SELECT user, id, version FROM recent WHERE id IS NOT NULL ORDER BY user, id
                """)
        }
        try connection.run("DELETE FROM recent")
        try connection.run("UPDATE positions SET value = ? WHERE name = 'settled'", [.integer(last)])
        clear()
        dueCount = Self.most
    }

    /// Moves the entries of one user alone; in a transaction of the connection that writes. A damaged page of others does not
    /// keep a user from being forgotten.
    ///
    /// - Complexity: O(n · log(entries)) for n entries of the user here.
    func settle(_ user: Int64, _ connection: Connection) throws(StorageError) {
        if isUnknown { try catchUp(connection) }
        guard let numbers = places[user], let last else { return }
        isChanged = true
        for number in numbers {
            let place: [Value] = [.integer(number)]
            var id: FeedbackID?
            var size: Int?
            try connection.run("SELECT id, length(action) FROM recent WHERE seq = ?", place) { row in
                id = row.isNull(0) ? nil : FeedbackID(row.bytes(0))
                size = Int(row.integer(1))
            }
            guard let size else {
                throw StorageError(.damaged, "settle", "an entry that was there is gone", path: connection.path)
            }
            try connection.run(
                """
                INSERT INTO journal (user, version, recorded_at, id, action)
                SELECT user, version, recorded_at, id, action FROM recent WHERE seq = ?
                """, place)
            try connection.run(
                """
                INSERT INTO feedback_ids (user, id, version)
                SELECT user, id, version FROM recent WHERE seq = ? AND id IS NOT NULL
                """, place)
            try connection.run("DELETE FROM recent WHERE seq = ?", place)
            if let id { ids.remove(ID(user: user, id: id)) }
            bytes -= size
        }
        // No number is given twice, though the last of them may be gone.
        try connection.run(
            "INSERT INTO positions (name, value) VALUES ('given', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [.integer(last)])
        places[user] = nil
        count -= numbers.count
        settledAlone += numbers.count
    }

    /// Settles in transactions of its own what can be settled where a page is damaged: those whose rows are on it stay here.
    func settleWhole(_ connection: Connection) throws {
        try catchUp(connection)
        try settle(places.keys.sorted()[...], connection)
        // Those who stay are not tried again before as many have come.
        try catchUp(connection)
        dueCount = count + Self.most
    }

    private func settle(_ users: ArraySlice<Int64>, _ connection: Connection) throws {
        do {
            try connection.transaction { for user in users { try settle(user, connection) } }
        } catch let error as StorageError where error.code == .damaged {
            // SQLite has ended the transaction: each half has one of its own.
            guard users.count > 1 else { return }
            let middle = users.startIndex + users.count / 2
            try settle(users[..<middle], connection)
            try settle(users[middle...], connection)
        }
    }
}
