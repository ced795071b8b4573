import Foundation
import Personalization
import TensorCore
import Testing

@testable import SQLiteStorage

/// What becomes of the index of recent entries when a transaction is taken back in its middle.
@Suite("Recent entries after failures", .serialized, .timeLimit(.minutes(10)))
struct RecentEntriesFaultTests {
    private struct Place: Hashable {
        let number: Int64
        let user: Int64
        let version: UInt64
    }

    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func entry(_ user: String, _ version: UInt64, bytes: Int = 700) -> JournalEntry {
        JournalEntry(
            user: user, version: version, id: version % 2 == 0 ? FeedbackID("\(user) \(version)") : nil,
            recordedAt: Int64(version), action: [UInt8](repeating: UInt8(truncatingIfNeeded: version), count: bytes))
    }

    /// Lets the file grow by so many pages and no more; `nil` for no limit.
    private func limit(_ storage: SQLiteStorage, _ pages: Int64?) async throws {
        try await storage.writer.run("limit", storage.path) { connection in
            let now = try connection.integer("PRAGMA page_count") ?? 0
            try connection.execute("PRAGMA max_page_count = \(pages.map { now + $0 } ?? 1_000_000_000)")
        }
    }

    private func places(_ storage: SQLiteStorage) async throws -> [Place] {
        try await storage.writer.run("places", storage.path) { connection in
            var all: [Place] = []
            try connection.run("SELECT seq, user, version FROM recent ORDER BY seq") { row in
                all.append(Place(number: row.integer(0), user: row.integer(1), version: row.version(2)))
            }
            return all
        }
    }

    /// Every number that was ever seen names the same entry for ever.
    private func expectUnique(_ places: Set<Place>) {
        #expect(Set(places.map(\.number)).count == places.count, "a number was used twice")
    }

    private func expect(
        _ storages: [SQLiteStorage], _ expected: [String: [JournalEntry]],
        _ sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        for storage in storages {
            #expect(try await storage.journalledUsers() == expected.keys.sorted(), sourceLocation: sourceLocation)
            for (user, entries) in expected {
                #expect(try await storage.entries(of: user, after: nil) == entries, sourceLocation: sourceLocation)
            }
        }
    }

    @Test(
        "groups that find no space leave nothing, and no number is used twice",
        arguments: [Durability.buffered, .synced])
    func fullGroups(durability: Durability) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        let users = (0..<8).map { "user \($0)" }
        let acknowledged = Shared<[String: [JournalEntry]]>([:])
        var seen = Set<Place>()
        var failures = 0
        for round in 0..<12 {
            // Every other round ends in a full file.
            try await limit(storage, round % 2 == 0 ? nil : 12)
            failures += try await withThrowingTaskGroup(of: Int.self) { group in
                for user in users {
                    group.addTask {
                        var failures = 0
                        var version = acknowledged.change { $0[user]?.last?.version ?? 0 }
                        for _ in 0..<15 {
                            let entry = entry(user, version + 1)
                            do {
                                let outcome = try await storage.append(entry, durability: durability)
                                #expect(outcome == .appended)
                                acknowledged.change { $0[user, default: []].append(entry) }
                                version += 1
                            } catch let error as StorageError {
                                #expect(error.code == .full)
                                failures += 1
                            }
                        }
                        return failures
                    }
                }
                return try await group.reduce(0, +)
            }
            seen.formUnion(try await places(storage))
            expectUnique(seen)
            try await expect([storage, reader], acknowledged.value)
            if round % 4 == 3 {
                try await limit(storage, nil)
                try await storage.settle()
                try await expect([storage, reader], acknowledged.value)
            }
        }
        #expect(failures > 100)
        await storage.close()
        let again = try await SQLiteStorage(path: path)
        try await expect([again, reader], acknowledged.value)
        // What is known of ids was kept as well.
        #expect(try await again.append(entry(users[0], 2), durability: durability) == .duplicate)
        await again.close()
        await reader.close()
    }

    @Test("settling that finds no space changes nothing, and is done when there is room")
    func fullSettling() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        var expected: [String: [JournalEntry]] = [:]
        var seen = Set<Place>()
        for round in 0..<6 {
            for version in 1...40 {
                let user = "user \(version % 3)"
                let entry = entry(user, UInt64(round * 40 + version))
                #expect(try await storage.append(entry, durability: .buffered) == .appended)
                expected[user, default: []].append(entry)
            }
            try await expect([storage, reader], expected)
            seen.formUnion(try await places(storage))
            expectUnique(seen)
            try await limit(storage, 1)
            let error = await #expect(throws: StorageError.self) { try await storage.settle() }
            #expect(error?.code == .full)
            try await expect([storage, reader], expected)
            try await limit(storage, nil)
            if round % 3 == 2 {
                try await storage.settle()
                #expect(try await places(storage) == [])
                // Without pages that are free, which settling would take.
                try await storage.compact()
                try await expect([storage, reader], expected)
            }
        }
        await storage.close()
        await reader.close()
    }

    @Test("no number is given twice, though the last entries were settled alone and the file was opened again")
    func numbersRise() async throws {
        let path = folder.newPath()
        let reader: SQLiteStorage
        var seen = Set<Place>()
        do {
            let storage = try await SQLiteStorage(path: path)
            reader = try await SQLiteStorage(path: path, access: .reading)
            for user in ["ada", "bob"] {
                #expect(try await storage.append(entry(user, 1), durability: .buffered) == .appended)
            }
            seen.formUnion(try await places(storage))
            try await expect([storage, reader], ["ada": [entry("ada", 1)], "bob": [entry("bob", 1)]])
            #expect(try await storage.removeEntries(of: "bob", isForgotten: false) == 1)
            #expect(try await places(storage).count == 1)
            await storage.close()
        }
        let storage = try await SQLiteStorage(path: path)
        #expect(try await storage.append(entry("cyd", 1), durability: .buffered) == .appended)
        seen.formUnion(try await places(storage))
        #expect(seen.count == 3)
        expectUnique(seen)
        // Who had looked at the number that bob's entry had looks at cyd's.
        try await expect([storage, reader], ["ada": [entry("ada", 1)], "cyd": [entry("cyd", 1)]])
        await storage.close()
        await reader.close()
    }

    @Test(
        "on a full disk nothing is lost or doubled, and no number is used twice", .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 4, at: folder.path + "/disk")
        let path = disk.path + "/a.db"
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        var expected: [String: [JournalEntry]] = [:]
        var seen = Set<Place>()
        var version: UInt64 = 0
        for round in 0..<3 {
            let filler = disk.path + "/filler"
            try disk.fill(filler)
            var refused = 0
            for _ in 0..<3000 where refused < 20 {
                let user = "user \(refused % 2)"
                let entry = entry(user, version + 1, bytes: 3000)
                do {
                    #expect(try await storage.append(entry, durability: .buffered) == .appended)
                    expected[user, default: []].append(entry)
                    version += 1
                } catch let error as StorageError {
                    #expect(error.code == .full)
                    refused += 1
                }
            }
            #expect(refused == 20)
            try FileManager.default.removeItem(atPath: filler)
            for user in ["user 0", "user 1"] {
                version += 1
                let entry = entry(user, version, bytes: 3000)
                #expect(try await storage.append(entry, durability: .buffered) == .appended)
                expected[user, default: []].append(entry)
            }
            seen.formUnion(try await places(storage))
            expectUnique(seen)
            try await expect([storage, reader], expected)
            if round == 1 { try await storage.settle() }
            // Room for the next round.
            try await storage.erase()
            try await expect([storage, reader], expected)
        }
        await storage.close()
        let again = try await SQLiteStorage(path: path)
        try await expect([again, reader], expected)
        await again.close()
        await reader.close()
    }
}
