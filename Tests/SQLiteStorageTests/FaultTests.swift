import CSQLite
import Foundation
import LoRA
import Personalization
import TensorCore
import Testing

@testable import SQLiteStorage

/// Every row of the table of faults in docs/durability.md.
@Suite("Faults", .serialized)
struct FaultTests {
    let folder: TemporaryFolder
    let script: ShopScript
    private static let users = ["ada", "bob", "cyd"]

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    private func engine(_ storage: SQLiteStorage) throws -> PersonalizationEngine {
        try PersonalizationEngine(
            configuration: ShopScript.configuration(durability: .synced), store: storage, journal: storage)
    }

    /// A file with three users, adapters and entries; what they are.
    private func filled(_ path: String) async throws -> [String: [UInt8]] {
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        var expected: [String: [UInt8]] = [:]
        for step in 0..<12 {
            for user in Self.users {
                _ = try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
            }
            if step == 8 { try await engine.checkpoint() }
        }
        for user in Self.users { expected[user] = try await engine.adapter(for: user)?.snapshot() }
        await storage.close()
        return expected
    }

    private func execute(_ path: String, _ sql: String) {
        var handle: OpaquePointer?
        #expect(unsafe sqlite3_open(path, &handle) == SQLITE_OK)
        #expect(unsafe sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK, "\(sql)")
        unsafe sqlite3_close(handle)
    }

    private func code(_ body: () async throws -> some Any) async -> StorageError.Code? {
        do {
            _ = try await body()
            return nil
        } catch let error as StorageError {
            return error.code
        } catch let error as EngineError {
            return (error.cause as? StorageError)?.code
        } catch {
            Issue.record("an error of no known type: \(error)")
            return nil
        }
    }

    @Test(
        "no space: the update is refused, reads are served, and it goes on when there is room",
        .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 2, at: folder.path + "/disk")
        let storage = try await SQLiteStorage(path: disk.path + "/a.db")
        let engine = try engine(storage)
        for step in 0..<4 { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        let filler = disk.path + "/filler"
        try disk.fill(filler)
        // What the log has room for is still accepted; then every update is refused.
        var last = try #require(try await engine.adapter(for: "ada"))
        var refused: StorageError.Code?
        for step in 4..<3000 {
            refused = await code { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
            if refused != nil { break }
            last = try #require(try await engine.adapter(for: "ada"))
        }
        #expect(refused == .full)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == last.snapshot())
        #expect(try await engine.personalize(script.batch("ada", 0)[0].embedding, for: "ada").version == last.version)
        try FileManager.default.removeItem(atPath: filler)
        let report = try await engine.updateAdapter(for: "ada", with: script.batch("ada", Int(last.version)))
        #expect(report.version == last.version + 1)
        try await engine.checkpoint()
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }

    @Test("a file that may not be written to is opened for reading alone", .enabled(if: SmallDisk.isPossible))
    func readOnly() async throws {
        let disk = try SmallDisk(megabytes: 8, at: folder.path + "/disk")
        let path = disk.path + "/a.db"
        let expected = try await filled(path)
        try disk.makeReadOnly()
        #expect(await code { try await SQLiteStorage(path: path) } == .readOnly)
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let engine = try engine(storage)
        for user in Self.users { #expect(try await engine.adapter(for: user)?.snapshot() == expected[user]) }
        #expect(await code { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 20)) } == .readOnly)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == expected["ada"])
        await storage.close()
    }

    @Test("another program's lock: updates are refused after two seconds, reads are served, and then it goes on")
    func locked() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        var other: OpaquePointer?
        #expect(unsafe sqlite3_open(path, &other) == SQLITE_OK)
        #expect(unsafe sqlite3_exec(other, "BEGIN IMMEDIATE", nil, nil, nil) == SQLITE_OK)
        #expect(await code { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 12)) } == .locked)
        for user in Self.users { #expect(try await engine.adapter(for: user)?.snapshot() == expected[user]) }
        #expect(unsafe sqlite3_exec(other, "ROLLBACK", nil, nil, nil) == SQLITE_OK)
        unsafe sqlite3_close(other)
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 12)).version == 13)
        await storage.close()
    }

    @Test("a second storage that writes to the file is refused, one that reads is not")
    func inUse() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let storage = try await SQLiteStorage(path: path)
        #expect(await code { try await SQLiteStorage(path: path) } == .inUse)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        #expect(try await JournalVerification.run(reader, reader).mismatches == [])
        let engine = try engine(storage)
        _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 12))
        #expect(try await reader.entries(of: "ada", after: nil).count == 13)
        #expect(try await reader.load("bob")?.adapter.version == 9)
        #expect(expected["bob"] != nil)
        await reader.close()
        await storage.close()
        let next = try await SQLiteStorage(path: path)
        await next.close()
    }

    @Test("files that are something else, or from the future, are refused and not changed")
    func otherFiles() async throws {
        let path = folder.newPath()
        #expect(await code { try await SQLiteStorage(path: path, access: .reading) } == .missing)
        #expect(!FileManager.default.fileExists(atPath: path))
        #expect(await code { try await SQLiteStorage(path: folder.path + "/no/such.db") } == .missing)

        try Data("this is a text, and no database, long enough to be read".utf8).write(to: URL(fileURLWithPath: path))
        #expect(await code { try await SQLiteStorage(path: path) } == .notAStore)

        let plain = folder.newPath()
        execute(plain, "CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        let before = try Data(contentsOf: URL(fileURLWithPath: plain))
        #expect(await code { try await SQLiteStorage(path: plain) } == .notAStore)
        #expect(try Data(contentsOf: URL(fileURLWithPath: plain)) == before)
    }

    @Test("no flipped byte changes an answer: it is an error, or healed from the journal")
    func flips() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let whole = [UInt8](try contents(ofFile: path))
        var (errors, healed) = (0, 0)
        var generator = PhiloxGenerator(seed: 11, stream: 1, purpose: .initialization)
        for page in 0..<(whole.count / 4096) {
            for _ in 0..<3 {
                let place = page * 4096 + Int(generator.uniformFloat() * 4096)
                var bytes = whole
                bytes[place] ^= 1 << UInt8(generator.uniformFloat() * 8)
                let copy = folder.newPath()
                try Data(bytes).write(to: URL(fileURLWithPath: copy))
                do {
                    let storage = try await SQLiteStorage(path: copy)
                    let engine = try engine(storage)
                    for user in Self.users {
                        do {
                            let found = try await engine.adapter(for: user)?.snapshot()
                            #expect(found == expected[user], "byte \(place): another answer for \(user)")
                        } catch let error as EngineError {
                            #expect(
                                [.storeFailed, .journalFailed, .damagedAdapter, .damagedJournal].contains(error.code))
                            errors += 1
                        }
                        do { _ = try await storage.load(user) } catch { healed += 1 }
                    }
                    await storage.close()
                } catch let error as StorageError {
                    #expect([.damaged, .notAStore].contains(error.code), "byte \(place): \(error)")
                    errors += 1
                }
                for suffix in ["", "-wal", "-shm", "-lock"] where FileManager.default.fileExists(atPath: copy + suffix)
                {
                    try FileManager.default.removeItem(atPath: copy + suffix)
                }
            }
        }
        // Both happened, or nothing was tried.
        #expect(errors > 10 && healed > 0)
    }

    @Test("a file that was cut is refused, wherever it was cut")
    func cuts() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let whole = try contents(ofFile: path)
        for size in stride(from: 4096, to: whole.count, by: 4096).flatMap({ [$0, $0 - 1000] }) {
            let copy = folder.newPath()
            try whole.prefix(size).write(to: URL(fileURLWithPath: copy))
            var failures = 0
            do {
                let storage = try await SQLiteStorage(path: copy)
                let engine = try engine(storage)
                for user in Self.users {
                    do {
                        let found = try await engine.adapter(for: user)?.snapshot()
                        #expect(found == expected[user], "cut to \(size): another answer for \(user)")
                    } catch is EngineError {
                        failures += 1
                    }
                }
                await storage.close()
            } catch is StorageError {
                failures += 1
            }
            #expect(failures > 0 || size > whole.count - 4096 * 2, "cut to \(size), and nobody noticed")
        }
        // To nothing, with a log beside it.
        let empty = folder.newPath()
        try Data().write(to: URL(fileURLWithPath: empty))
        try Data(count: 5000).write(to: URL(fileURLWithPath: empty + "-wal"))
        #expect(await code { try await SQLiteStorage(path: empty) } == .damaged)
    }

    @Test("whoever asks for an fsync gets one, whatever was asked for before")
    func syncs() async throws {
        let storage = try await folder.storage()
        var version: UInt64 = 0
        for durability in [Durability.buffered, .synced, .buffered, .synced, .synced, .buffered, .buffered, .synced] {
            version += 1
            let entry = JournalEntry(user: "ada", version: version, recordedAt: 0, action: [1])
            #expect(try await storage.append(entry, durability: durability) == .appended)
            let level = try await storage.writer.run("test", storage.path) { connection in
                var level: Int32 = -1
                var statement: OpaquePointer?
                unsafe sqlite3_prepare_v2(connection.raw, "PRAGMA synchronous", -1, &statement, nil)
                if unsafe sqlite3_step(statement) == SQLITE_ROW { level = unsafe sqlite3_column_int(statement, 0) }
                unsafe sqlite3_finalize(statement)
                return level
            }
            #expect(level == (durability == .synced ? 2 : 1))
        }
        await storage.close()
    }

    @Test(
        "a reader in the writer's process does not make other processes take its log away",
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/python3"), "needs Python as the other process"))
    func locksStay() async throws {
        let path = folder.newPath()
        _ = try await filled(path)
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 12))
        let reader = try await SQLiteStorage(path: path, access: .reading)
        await reader.close()
        // Another process that opens and closes the file: the last one to do so would delete the log.
        let program =
            "import sqlite3; c = sqlite3.connect(\"\(path)\"); c.execute(\"SELECT count(*) FROM journal\").fetchall(); c.close()"
        #expect(runProgram("/usr/bin/python3 -c '\(program)'") == 0)
        #expect(FileManager.default.fileExists(atPath: path + "-wal"))
        _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 13))
        // What a second look at the file sees is what was acknowledged.
        let next = try await SQLiteStorage(path: path, access: .reading)
        #expect(try await next.entries(of: "ada", after: nil).last?.version == 14)
        await next.close()
        await storage.close()
    }

    @Test("what is forgotten while somebody reads is gone at once, and erased when they are done")
    func forgetsBesideReaders() async throws {
        let path = folder.newPath()
        _ = try await filled(path)
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        _ = try await engine.adapter(for: "ada")
        var other: OpaquePointer?
        #expect(unsafe sqlite3_open(path, &other) == SQLITE_OK)
        #expect(unsafe sqlite3_exec(other, "BEGIN; SELECT count(*) FROM journal", nil, nil, nil) == SQLITE_OK)
        let receipt = try await engine.forgetFeedback(FeedbackID("3"), of: "ada")
        #expect(!receipt.isErased && receipt.version == 13)
        #expect(try await engine.adapter(for: "ada")?.version == 13)
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 12)).version == 14)
        let user = try await engine.forget("bob")
        #expect(user.hadAdapter && !user.isErased)
        #expect(try await engine.adapter(for: "bob") == nil)
        await #expect(throws: EngineError.self) { try await engine.eraseForgotten() }
        #expect(unsafe sqlite3_exec(other, "COMMIT", nil, nil, nil) == SQLITE_OK)
        unsafe sqlite3_close(other)
        try await engine.eraseForgotten()
        try await engine.checkpoint()
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }

    @Test("a file has one lock, whatever path leads to it")
    func linkedPaths() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let link = folder.newPath()
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        #expect(await code { try await SQLiteStorage(path: link) } == .inUse)
        await storage.close()
    }

    @Test("entries that were lost are noticed")
    func gaps() async throws {
        let path = folder.newPath()
        _ = try await filled(path)
        changeWithChecksums(path, "DELETE FROM recent WHERE version = 11")
        let storage = try await SQLiteStorage(path: path)
        let error = await #expect(throws: EngineError.self) { try await engine(storage).adapter(for: "ada") }
        #expect(error?.code == .damagedJournal)
        await storage.close()
    }

    @Test("an adapter that stands in the journal alone is refused under another model")
    func otherModels() async throws {
        let storage = try await folder.storage()
        let first = try engine(storage)
        _ = try await first.updateAdapter(for: "ada", with: script.batch("ada", 0))
        var configuration = ShopScript.configuration()
        configuration.embeddingModel = "another"
        let other = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let error = await #expect(throws: EngineError.self) { try await other.adapter(for: "ada") }
        #expect(error?.code == .modelMismatch)
        await storage.close()
    }

    @Test("versions that no adapter has are refused, in calls and in files")
    func hugeVersions() async throws {
        let storage = try await folder.storage()
        let engine = try engine(storage)
        _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        #expect(try await storage.entries(of: "ada", after: .max) == [])
        for version in [UInt64.max, 1 << 63, 1 << 62] {
            let correction = JournalEntry(
                user: "bob\(version)", version: version, recordedAt: 0,
                action: try await storage.entries(of: "ada", after: nil)[0].action)
            _ = try await storage.append(correction, durability: .buffered)
            await #expect(throws: EngineError.self) { try await engine.adapter(for: "bob\(version)") }
        }
        await storage.close()
    }

    @Test("an engine without the journal does not write over what only the journal has")
    func withoutTheJournal() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let storage = try await SQLiteStorage(path: path)
        // The saved adapter is of version 9, the journal's last entry of 12.
        let blind = try PersonalizationEngine(configuration: ShopScript.configuration(), store: storage)
        _ = try await blind.updateAdapter(for: "ada", with: script.batch("ada", 9))
        let refused = await #expect(throws: EngineError.self) { try await blind.checkpoint() }
        #expect(refused?.code == .staleVersion)
        // One that reads it, and records nothing more, has seen all of it and begins anew.
        let none = try PersonalizationEngine(
            configuration: ShopScript.configuration(durability: Durability.none), store: storage, journal: storage)
        #expect(try await none.adapter(for: "ada")?.snapshot() == expected["ada"])
        _ = try await none.updateAdapter(for: "ada", with: script.batch("ada", 12))
        try await none.checkpoint()
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        let next = try engine(storage)
        let version = try await none.adapter(for: "ada")
        #expect(try await next.adapter(for: "ada")?.snapshot() == version?.snapshot())
        #expect(version?.version == 13)
        await storage.close()
    }

    @Test("feedback that cannot be is refused before it is written down")
    func impossibleFeedback() async throws {
        let storage = try await folder.storage()
        let engine = try engine(storage)
        let x = script.batch("ada", 0)[0].embedding
        for signal in [
            Feedback.Signal.like(-1, in: script.catalogue), .like(99, in: script.catalogue),
            .like(1, in: script.catalogue, seen: [-5]), .reward(3, for: .catalogued(-2, script.catalogue)),
            .target([1]), .preference(.catalogued(1, script.catalogue), over: []),
        ] {
            let error = await #expect(throws: EngineError.self) {
                try await engine.updateAdapter(for: "ada", with: [Feedback(embedding: x, signal: signal)])
            }
            #expect(error?.code == .refusedFeedback)
        }
        #expect(try await storage.journalledUsers() == [])
        #expect(engine.statistics().updates == 0 && engine.statistics().created == 0)
        await storage.close()
    }

    @Test("after close everything is refused")
    func closed() async throws {
        let storage = try await folder.storage()
        let engine = try engine(storage)
        await storage.close()
        #expect(await code { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) } == .closed)
        #expect(await code { try await storage.users() } == .closed)
        await storage.close()
    }
}
