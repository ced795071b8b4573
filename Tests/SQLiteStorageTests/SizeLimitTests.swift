import CSQLite
import LoRA
import Personalization
import Testing

@testable import SQLiteStorage

/// What is larger than SQLite takes, with a limit that needs no gigabyte.
@Suite("Values that are too large")
struct SizeLimitTests {
    @Test("a catalogue that is too large refuses the updates that name it, and nothing else")
    func refusesCatalogues() async throws {
        let folder = try TemporaryFolder()
        let script = try ShopScript()
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        // The catalogue takes 1,048 bytes.
        let before = try await storage.writer.run("test", storage.path) { connection in
            unsafe sqlite3_limit(connection.raw, SQLITE_LIMIT_LENGTH, 1000)
        }
        #expect(before == 1_000_000_000, "the limit that docs/durability.md names")
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)).version == 1)
        let adapter = try await engine.adapter(for: "ada")?.snapshot()
        let error = await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1))
        }
        #expect(error?.code == .journalFailed && (error?.cause as? StorageError)?.code == .tooLarge)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == adapter)
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 2)).version == 2)
        #expect(try await storage.entries(of: "ada", after: nil).map(\.version) == [1, 2])
        await storage.close()
    }
}
