internal import Personalization

/// What a storage has of a user, in numbers.
public struct StoredUser: Sendable, Hashable {
    /// The user.
    public var user: String
    /// The version of the saved adapter; `nil` where none was saved.
    public var version: UInt64?
    /// The entries in the journal.
    public var entries: Int
    /// The bytes of the saved adapter and the entries.
    public var bytes: Int
    /// Whether a page is damaged that has something of the user's: the numbers are 0 then, and there is no version.
    public var isDamaged = false
}

extension SQLiteStorage {
    /// What there is of each user, ascending by id.
    ///
    /// - Complexity: O(entries).
    public func usersOverview() async throws -> [StoredUser] {
        try await eachUser("usersOverview") { connection, user, ref throws(StorageError) in
            var result = StoredUser(user: user, version: nil, entries: 0, bytes: 0)
            let values: [Value] = [.integer(ref)]
            try connection.run("SELECT version, length(snapshot) FROM adapters WHERE user = ?", values) { row in
                result.version = row.version(0)
                result.bytes += Int(row.integer(1))
            }
            try connection.run(
                "SELECT count(*), coalesce(sum(length(action)), 0) FROM journal WHERE user = ?", values
            ) { row in
                result.entries += Int(row.integer(0))
                result.bytes += Int(row.integer(1))
            }
            for place in connection.recent.places(of: ref) {
                try connection.run("SELECT length(action) FROM recent WHERE seq = ?", [.integer(place)]) { row in
                    result.entries += 1
                    result.bytes += Int(row.integer(0))
                }
            }
            return result
        } damaged: {
            StoredUser(user: $0, version: nil, entries: 0, bytes: 0, isDamaged: true)
        }
    }

    /// What is wrong with the file's pages: the first that is not what was written, whether somebody reads it or not, or what in
    /// the tables' structure is wrong. Empty for a file that is whole. Free pages, which hold nothing, are not looked at.
    ///
    /// - Complexity: O(bytes of the file).
    package func damagedPages() async throws -> [String] {
        try await reading("damagedPages") { connection in
            var all: [String] = []
            do throws(StorageError) {
                try connection.run("PRAGMA quick_check(20)") { all.append($0.text(0)) }
            } catch {
                guard error.code == .damaged else { throw error }
                return all + [error.message]
            }
            // Several stand in one text, under the database's name.
            let lines = all.flatMap { $0.split(separator: "\n") }.filter { !$0.hasPrefix("***") }
            return all == ["ok"] ? [] : lines.map(String.init)
        }
    }

    /// What `body` gives of each user, in one transaction and ascending by id; what `damaged` gives of those of whom something
    /// stands on a damaged page.
    func eachUser<R: Sendable>(
        _ operation: String,
        _ body: @escaping @Sendable (Connection, String, Int64) throws(StorageError) -> R?,
        damaged: @escaping @Sendable (String) -> R?
    ) async throws -> [R] {
        let project = projectRef
        return try await reading(operation) { connection in
            try connection.recent.catchUp(connection)
            var users: [(id: String, ref: Int64)] = []
            try connection.run("SELECT id, ref FROM users WHERE project = ? ORDER BY id", [.integer(project)]) {
                users.append(($0.text(0), $0.integer(1)))
            }
            return try users.compactMap { user in
                do throws(StorageError) {
                    return try body(connection, user.id, user.ref)
                } catch {
                    // SQLite has ended the transaction: the others are looked at as they are now.
                    guard error.code == .damaged else { throw error }
                    return damaged(user.id)
                }
            }
        }
    }
}
