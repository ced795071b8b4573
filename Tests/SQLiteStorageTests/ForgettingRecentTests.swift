import Foundation
import LoRA
import Personalization
import Testing

@testable import SQLiteStorage

/// What is forgotten goes from both tables that hold entries.
@Suite("Forgetting what is recent or settled", .timeLimit(.minutes(10)))
struct ForgettingRecentTests {
    /// Where the entries stand when they are forgotten.
    enum Place: String, CaseIterable { case recent, settled, both }

    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    private func count(_ table: StaticString, _ storage: SQLiteStorage) async throws -> Int64 {
        try await storage.writer.run("count", storage.path) { try $0.integer(table) ?? 0 }
    }

    @Test("a trimming moves the latest entries of its user alone")
    func trimsAlone() async throws {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        for step in 0..<6 {
            for user in ["ada", "bob"] {
                _ = try await engine.updateAdapter(
                    for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
            }
            if step == 3 { try await storage.settle() }
        }
        func base(_ user: String, _ version: UInt64) async throws -> StoredAdapter {
            var adapter = try #require(try await engine.adapter(for: user))
            adapter.version = version
            return StoredAdapter(user: user, embeddingModel: "test", adapter: adapter, isJournalled: true)
        }
        func recent() async throws -> Int64 { try await count("SELECT count(*) FROM recent", storage) }
        func left(_ user: String) async throws -> [UInt64] {
            try await storage.entries(of: user, after: nil).map(\.version)
        }
        #expect(try await recent() == 4)
        for version: UInt64 in [3, 4] {
            try await storage.trim(try await base("ada", version))
            #expect(try await recent() == 2)
        }
        try await storage.trim(try await base("bob", 2))
        #expect(try await recent() == 0)
        #expect(try await left("ada") == [5, 6])
        #expect(try await left("bob") == [3, 4, 5, 6])
        try await storage.trim(try await base("ada", 5))
        #expect(try await recent() == 0)
        #expect(try await left("ada") == [6])
        #expect(try await left("bob") == [3, 4, 5, 6])
        // What went is known by its name all the same.
        let again = try await engine.updateAdapter(
            for: "ada", with: script.batch("ada", 4), id: FeedbackID("4"))
        #expect(again.samples == 0)
        await storage.close()
    }

    @Test(
        "what was forgotten is nowhere in the file or its log", arguments: Place.allCases, [false, true])
    func erases(place: Place, wholeUser: Bool) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        let user = "someone-who-wants-to-be-forgotten"
        func secret(_ number: Int) -> [Float] {
            (0..<ShopScript.dimension).map { 0.123_456_7 + Float($0 + number) / 977 }
        }
        let needles = (0..<40).filter { $0 % 10 == 3 }.map { step in
            unsafe secret(step).withUnsafeBytes { unsafe Data($0) }
        }
        for step in 0..<40 {
            _ = try await engine.updateAdapter(
                for: "other", with: script.batch("other", step), id: FeedbackID("\(step)"))
            let batch =
                step % 10 == 3
                ? [Feedback(embedding: secret(step), signal: .target(secret(step)))] : script.batch(user, step)
            _ = try await engine.updateAdapter(for: user, with: batch, id: FeedbackID("event \(step)"))
            if step == 19, place == .both { try await storage.settle() }
        }
        if place == .settled { try await storage.settle() }
        let (recent, settled) = (
            try await count("SELECT count(*) FROM recent", storage),
            try await count("SELECT count(*) FROM journal", storage)
        )
        #expect(recent == (place == .recent ? 80 : place == .both ? 40 : 0) && recent + settled == 80)
        // A reader that has seen the entries where they are now.
        #expect(try await reader.entries(of: user, after: nil).count == 40)
        func files() throws -> Data {
            try ["", "-wal"].reduce(into: Data()) { all, suffix in
                if FileManager.default.fileExists(atPath: path + suffix) {
                    all.append(try contents(ofFile: path + suffix))
                }
            }
        }
        for needle in needles { #expect(try files().range(of: needle) != nil) }
        #expect(try files().range(of: Data(user.utf8)) != nil)
        let id = FeedbackID("event 3")
        let idBytes = [id.high, id.low].reduce(into: Data()) { data, half in
            unsafe withUnsafeBytes(of: half.littleEndian) { unsafe data.append(contentsOf: $0) }
        }
        #expect(try files().range(of: idBytes) != nil, "the test knows how ids are written")
        if wholeUser {
            let receipt = try await engine.forget(user)
            #expect(receipt.hadAdapter && receipt.entries == 40 && receipt.isErased)
            #expect(try files().range(of: Data(user.utf8)) == nil)
            #expect(try files().range(of: idBytes) == nil)
            #expect(try await reader.entries(of: user, after: nil) == [])
            #expect(try await reader.journalledUsers() == ["other"])
        } else {
            for step in 0..<40 where step % 10 == 3 {
                let receipt = try await engine.forgetFeedback(FeedbackID("event \(step)"), of: user)
                #expect(receipt.learnedAt == UInt64(step) + 1 && receipt.isErased)
            }
            #expect(try await reader.entries(of: user, after: nil).count == 40)
        }
        for needle in needles { #expect(try files().range(of: needle) == nil) }
        #expect(try await reader.entries(of: "other", after: nil).count == 40)
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        #expect(try await JournalVerification.run(reader, reader).mismatches == [])
        await storage.close()
        await reader.close()
        for needle in needles { #expect(try files().range(of: needle) == nil) }
    }
}
