import Foundation
import Personalization
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

/// Forgetting in files with many users, whose indexes SQLite has rebalanced: it moves entries between pages then, and leaves the
/// old copies in the unused part of the pages.
@Suite("Forgetting one of many", .timeLimit(.minutes(10)))
struct ForgettingManyTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static func name(_ user: Int) -> String { "many-\(1_000_000 + user)-forgettable" }

    /// Starts each of a user's ids, and stands in each of their entries again and again: the user follows, twice.
    private static let idMark: UInt64 = 0xA7C3_19F0_5B62_D48E
    private static let entryMark: UInt32 = 0x9E5D_C2B1

    private static func entry(_ user: Int, _ version: UInt64, bytes: Int) -> JournalEntry {
        let repeated = [entryMark, UInt32(user), ~UInt32(user)].flatMap(littleEndian)
        let action = (0..<max(1, bytes / 12)).flatMap { _ in repeated }
        let id = FeedbackID(high: idMark, low: UInt64(user) << 48 | UInt64(user) << 32 | version)
        return JournalEntry(user: name(user), version: version, id: id, recordedAt: Int64(version), action: action)
    }

    /// The users of whom something stands in a file or its log, by what it is.
    private static func found(_ path: String) throws -> (names: Set<Int>, ids: Set<Int>, entries: Set<Int>) {
        var found: (names: Set<Int>, ids: Set<Int>, entries: Set<Int>) = ([], [], [])
        for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: path + suffix) {
            let bytes = try contents(ofFile: path + suffix)
            func each(_ mark: [UInt8], then count: Int, _ body: ([UInt8]) -> Void) {
                for place in places(of: mark, in: bytes) where place + mark.count + count <= bytes.count {
                    body(Array(bytes[place + mark.count..<place + mark.count + count]))
                }
            }
            each(Array("many-1".utf8), then: 6) {
                if let user = Int(String(decoding: $0, as: UTF8.self)) { found.names.insert(user) }
            }
            each(littleEndian(idMark), then: 8) {
                if $0[4..<6].elementsEqual($0[6..<8]) { found.ids.insert(Int($0[4]) | Int($0[5]) << 8) }
            }
            each(littleEndian(entryMark), then: 8) {
                if zip($0[0..<4], $0[4..<8]).allSatisfy({ $0 == ~$1 }) {
                    found.entries.insert(Int($0[0]) | Int($0[1]) << 8)
                }
            }
        }
        return found
    }

    private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    private func append(
        _ users: [Int], rounds: Int, _ versions: inout [Int: UInt64], _ generator: inout PhiloxGenerator,
        to storage: SQLiteStorage
    ) async throws {
        for _ in 0..<rounds {
            var users = users
            generator.shuffle(&users)
            var entries: [JournalEntry] = []
            for user in users {
                // Now and then one that does not fit on a page.
                let bytes = generator.integer(below: 60) == 0 ? 6000 : generator.integer(in: 12..<500)
                versions[user, default: 0] += 1
                entries.append(Self.entry(user, versions[user] ?? 0, bytes: bytes))
            }
            for result in await storage.append(entries, durability: .buffered) {
                #expect(try result.get() == .appended)
            }
        }
    }

    @Test(
        "nothing of a forgotten user is left in pages that were rebalanced",
        arguments: underSanitizer([1], otherwise: [1, 2]) as [UInt64])
    func rebalanced(seed: UInt64) async throws {
        var generator = PhiloxGenerator(seed: seed, stream: 1, purpose: .initialization)
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let all = Array(0..<underSanitizer(60, otherwise: 200))
        var versions: [Int: UInt64] = [:]
        for _ in 0..<4 {
            try await append(all, rounds: 5, &versions, &generator, to: storage)
            try await storage.settle()
        }
        let before = try Self.found(path)
        #expect(before.names == Set(all) && before.ids == Set(all) && before.entries == Set(all))
        var left = Set(all)
        for round in 0..<4 {
            for _ in 0..<10 {
                let user = left.sorted()[generator.integer(below: left.count)]
                left.remove(user)
                #expect(
                    try await storage.removeEntries(of: Self.name(user), isForgotten: true) == Int(versions[user] ?? 0))
            }
            try await storage.erase()
            // What is written after that comes from SQLite's memory, which must not hold them either.
            for step in 0..<2 {
                let now = try Self.found(path)
                for (kind, users) in [("name", now.names), ("id", now.ids), ("entry", now.entries)] {
                    #expect(
                        users == left,
                        "seed \(seed), round \(round), step \(step): \(kind) of \(users.subtracting(left).sorted())")
                }
                if step == 0 {
                    try await append(left.sorted(), rounds: 1, &versions, &generator, to: storage)
                    try await storage.settle()
                }
            }
        }
        for user in left {
            let entries = try await storage.entries(of: Self.name(user), after: nil)
            #expect(entries.count == Int(versions[user] ?? 0))
            #expect(entries.allSatisfy { $0.action == Self.entry(user, $0.version, bytes: $0.action.count).action })
        }
        await storage.close()
        let now = try Self.found(path)
        #expect(now.names == left && now.ids == left && now.entries == left, "seed \(seed)")
    }
}
