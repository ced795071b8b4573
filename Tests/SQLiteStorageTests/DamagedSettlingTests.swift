import Foundation
import LoRA
import Personalization
import Testing

@testable import SQLiteStorage

/// A damaged page of the journal concerns those whose entries are on it, and nobody else.
@Suite("Settling beside damaged pages", .serialized)
struct DamagedSettlingTests {
    private static let users = (0..<40).map { "user \($0)" }
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func entry(_ user: Int, _ version: UInt64) -> JournalEntry {
        // Settled entries of each user can be found in the file by their bytes.
        let marker = [UInt8]("<\(user)/\(version <= 20 ? "settled" : "recent")>".utf8)
        return JournalEntry(
            user: Self.users[user], version: version, id: FeedbackID("\(version)"), recordedAt: Int64(version),
            action: marker + [UInt8](repeating: 1, count: 60))
    }

    /// A closed file in which the pages with the settled entries of user 17 are damaged, and each user has 20 settled entries and
    /// recent ones.
    ///
    /// - Returns: The entries, and who has entries on a damaged page.
    private func damaged(_ path: String, recent: UInt64 = 10) async throws -> (
        entries: [String: [JournalEntry]], damaged: Set<String>
    ) {
        let storage = try await SQLiteStorage(path: path)
        var entries: [String: [JournalEntry]] = [:]
        for version in 1...20 + recent {
            for user in Self.users.indices {
                let entry = entry(user, version)
                #expect(try await storage.append(entry, durability: .buffered) == .appended)
                entries[Self.users[user], default: []].append(entry)
            }
            if version == 20 { try await storage.settle() }
        }
        await storage.close()
        var bytes = try contents(ofFile: path)
        var flipped = 0
        for page in stride(from: 0, to: bytes.count, by: 4096)
        where bytes[page..<page + 4096].firstRange(of: Data("<17/settled>".utf8)) != nil {
            bytes[page + 2000] ^= 4
            flipped += 1
        }
        #expect(flipped > 0)
        try bytes.write(to: URL(fileURLWithPath: path))
        let reader = try await SQLiteStorage(path: path, access: .reading)
        var damaged = Set<String>()
        for user in Self.users {
            do {
                #expect(try await reader.entries(of: user, after: nil) == entries[user])
            } catch let error as StorageError {
                #expect(error.code == .damaged)
                damaged.insert(user)
            }
        }
        await reader.close()
        #expect(damaged.contains("user 17") && damaged.count < 10)
        return (entries, damaged)
    }

    private func expect(
        _ storages: [SQLiteStorage], _ expected: [String: [JournalEntry]], but damaged: Set<String>
    ) async throws {
        for storage in storages {
            for (user, entries) in expected where !damaged.contains(user) {
                #expect(try await storage.entries(of: user, after: nil) == entries)
            }
        }
    }

    private func recentUsers(_ storage: SQLiteStorage) async throws -> Set<String> {
        try await storage.writer.run("recent", storage.path) { connection in
            var all = Set<String>()
            try connection.run("SELECT id FROM users WHERE ref IN (SELECT user FROM recent)") { all.insert($0.text(0)) }
            return all
        }
    }

    @Test(
        "who is not on the page is forgotten, trimmed and rewritten; who is gets a typed error, and nothing is half done"
    )
    func others() async throws {
        let path = folder.newPath()
        var (expected, damaged) = try await damaged(path)
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        try await expect([storage, reader], expected, but: damaged)
        for user in ["user 3", "user 30"] {
            #expect(try await storage.removeEntries(of: user, isForgotten: true) == 30)
            expected[user] = nil
        }
        let error = await #expect(throws: StorageError.self) {
            try await storage.removeEntries(of: "user 17", isForgotten: true)
        }
        #expect(error?.code == .damaged)
        #expect(try await !storage.isForgotten("user 17"))
        var adapter = LoRAAdapter(
            shape: try AdapterShape(dimension: 3, rank: 1), identity: AdapterIdentity(seed: 1, user: "user 25"))
        adapter.version = 25
        try await storage.trim(
            StoredAdapter(user: "user 25", embeddingModel: "test", adapter: adapter, isJournalled: true))
        expected["user 25"]?.removeFirst(25)
        for user in [0, 25, 39] {
            let entry = entry(user, 31)
            #expect(try await storage.append(entry, durability: .synced) == .appended)
            expected[Self.users[user]]?.append(entry)
        }
        let refused = await #expect(throws: StorageError.self) {
            try await storage.append(entry(17, 31), durability: .synced)
        }
        #expect(refused?.code == .damaged)
        try await expect([storage, reader], expected, but: damaged)
        // Everybody is listed, so that whoever goes through them reaches the others.
        #expect(try await reader.journalledUsers() == expected.keys.sorted())
        var last: [String: UInt64] = [:]
        try await reader.withLastVersions { for user in $0 { last[user.user] = user.version } }
        for (user, entries) in expected { #expect(last[user] == entries.last?.version) }
        await storage.close()
        await reader.close()
    }

    @Test("whose last entry stands on a damaged page is listed with the highest version, so that somebody looks")
    func listsDamaged() async throws {
        let path = folder.newPath()
        let (expected, damaged) = try await damaged(path, recent: 0)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        #expect(try await reader.journalledUsers() == expected.keys.sorted())
        var last: [String: UInt64] = [:]
        try await reader.withLastVersions { for user in $0 { last[user.user] = user.version } }
        #expect(last["user 17"] == .max && last.count == expected.count)
        for user in expected.keys where !damaged.contains(user) { #expect(last[user] == 20) }
        await reader.close()
    }

    @Test("every damaged page is found, whoever reads it, and users are listed beside damaged pages")
    func findsDamage() async throws {
        let path = folder.newPath()
        let script = try ShopScript()
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        for user in Self.users {
            for step in 0..<4 {
                _ = try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
            }
        }
        try await engine.forget("user 5")
        try await engine.checkpoint()
        try await storage.settle()
        #expect(try await storage.damagedPages() == [])
        await storage.close()
        let whole = try contents(ofFile: path)
        var (damagedUsers, damagedFiles) = (0, 0)
        for page in 1..<whole.count / 4096 {
            var bytes = whole
            bytes[page * 4096 + 3000] ^= 16
            let copy = folder.newPath()
            try bytes.write(to: URL(fileURLWithPath: copy))
            do {
                let reader = try await SQLiteStorage(path: copy, access: .reading)
                let found = try await reader.damagedPages()
                // But for free pages, which hold nothing.
                damagedFiles += found.isEmpty ? 0 : 1
                #expect(
                    found.isEmpty || found.contains { $0.lowercased().contains("page \(page + 1)") },
                    "page \(page + 1): \(found)")
                let users = try await reader.usersOverview()
                damagedUsers += users.count { $0.isDamaged }
                #expect(users.map(\.user) == Self.users.filter { $0 != "user 5" }.sorted())
                #expect(try await reader.users() == users.map(\.user))
                for user in users where !user.isDamaged { #expect(user.version == 4 && user.entries == 4) }
                await reader.close()
            } catch let error as StorageError {
                // The page with the users themselves, or of the recent entries, or one that opening reads.
                #expect(error.code == .damaged)
                damagedFiles += 1
            }
        }
        print("of \(whole.count / 4096) pages \(damagedFiles) were found damaged, with \(damagedUsers) users")
        #expect(damagedUsers >= 10 && damagedFiles > whole.count / 4096 / 2)
    }

    @Test("when it is time, all others are settled, and what comes then is too")
    func settlesOthers() async throws {
        let path = folder.newPath()
        var (expected, damaged) = try await damaged(path)
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        try await expect([storage, reader], expected, but: damaged)
        #expect(try await recentUsers(storage) == Set(Self.users))
        for version in 31...UInt64(33) {
            try await storage.writer.run("test", path) { connection in
                try connection.recent.catchUp(connection)
                connection.recent.dueCount = connection.recent.count + 1
            }
            let entry = entry(0, version)
            #expect(try await storage.append(entry, durability: .synced) == .appended)
            expected["user 0"]?.append(entry)
            // Behind the settling, on the same queue.
            let left = try await recentUsers(storage)
            // Where rows are moved between pages, a page beside the damaged one may need it.
            #expect(left.isSuperset(of: damaged) && left.count <= damaged.count + 4)
            try await expect([storage, reader], expected, but: damaged)
            let (count, due) = try await storage.writer.run("test", path) { connection in
                (connection.recent.count, connection.recent.dueCount)
            }
            #expect(count == left.count * 10 && due == count + RecentEntries.most)
            #expect(try await storage.append(entry, durability: .synced) == .duplicate)
        }
        await storage.close()
        let again = try await SQLiteStorage(path: path)
        try await expect([again, reader], expected, but: damaged)
        await again.close()
        await reader.close()
    }
}
