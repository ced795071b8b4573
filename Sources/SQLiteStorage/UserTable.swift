internal import Personalization
internal import Reasoning
internal import TensorCore

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

    func digest(of user: String) -> UserDigest { key.digest(of: user) }

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
