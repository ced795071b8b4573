import Personalization
import Testing

@testable import SQLiteStorage

@Suite("How far streams of feedback were read")
struct StreamPositionTests {
    private let folder: TemporaryFolder
    private let position = StreamPosition(stream: "scores", sequence: 7)
    private let entry = JournalEntry(user: "ada", version: 1, recordedAt: 0, action: [1])

    init() throws { folder = try TemporaryFolder() }

    @Test("an entry and its position are committed together or not at all", arguments: ["recent", "positions"])
    func isWhole(table: String) async throws {
        let storage = try await folder.storage()
        try await storage.writing("test") {
            try $0.execute(
                "CREATE TEMP TRIGGER refuse BEFORE INSERT ON \(table) BEGIN SELECT RAISE(ABORT, 'refused'); END")
        }
        await #expect(throws: StorageError.self) {
            _ = try await storage.append(entry, durability: .buffered, position: position)
        }
        #expect(try await storage.position(in: "scores") == 0)
        #expect(try await storage.entries(of: "ada", after: nil) == [])
        try await storage.writing("test") { try $0.execute("DROP TRIGGER refuse") }
        #expect(try await storage.append(entry, durability: .synced, position: position) == .appended)
        #expect(try await storage.position(in: "scores") == 7)
        #expect(try await storage.entries(of: "ada", after: nil) == [entry])
        await storage.close()
    }

    @Test("projects have their own, which stay when the file is opened again and go with a backup")
    func projects() async throws {
        let (path, copy) = (folder.newPath(), folder.newPath())
        var storage = try await SQLiteStorage(path: path)
        _ = try await storage.append(entry, durability: .buffered, position: position)
        await storage.close()
        storage = try await SQLiteStorage(path: path, project: "other")
        #expect(try await storage.position(in: "scores") == 0)
        try await storage.record(StreamPosition(stream: "scores", sequence: 3), durability: .buffered)
        try await storage.backup(to: copy)
        await storage.close()
        for place in [path, copy] {
            for (project, sequence) in [("default", Int64(7)), ("other", 3)] {
                let storage = try await SQLiteStorage(path: place, project: project, access: .reading)
                #expect(try await storage.position(in: "scores") == sequence)
                await #expect(throws: StorageError.self) {
                    try await storage.record(position, durability: .buffered)
                }
                await storage.close()
            }
        }
    }
}
